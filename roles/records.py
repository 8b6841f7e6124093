"""What the people write and read: frozen records, each one thing said in the lab."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Line = Annotated[str, Field(max_length=200)]
PARAGRAPH_CHARACTERS = 1500
Paragraph = Annotated[str, Field(max_length=PARAGRAPH_CHARACTERS)]

Category = Literal[
    "optimizer",
    "schedule",
    "batch",
    "architecture",
    "attention",
    "initialisation",
    "regularisation",
    "efficiency",
    "simplification",
]
# provisional: on the stack; keep: proven with the stack; dropped: cut with it, or not needed.
Decision = Literal["provisional", "keep", "dropped", "discard", "crash"]
# How a director may lead off a plateau.
WayOut = Literal["change category", "combine near misses", "simplify", "go back"]


class Record(BaseModel):
    """A noun: immutable, strict about its keys, the same class everywhere it travels."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Direction(Record):
    """The director's choice: what to look at next, and who should.

    ``answer`` is what the director says to the notes of a person; empty where there are none.
    After a plateau ``way_out`` says how it leads off it, and ``builds_on`` from which experiments:
    the two near misses that are combined, or the one whose version is gone back to. What is
    ``urgent`` is tried before the patches of others that wait for a device.
    """

    category: Category
    focus: Paragraph
    assignee: Line
    reason: Paragraph
    answer: Paragraph = ""
    way_out: WayOut | None = None
    builds_on: tuple[int, ...] = ()
    urgent: bool = False


class Hypothesis(Record):
    """One change expected to lower val_bpb, why it should, and by how much.

    ``expected_effect`` is the expected change of val_bpb, in bits per byte: negative is better.
    """

    title: Line
    category: Category
    change: Paragraph
    mechanism: Paragraph
    expected_effect: Annotated[float, Field(allow_inf_nan=False)]


class Prose(Record):
    """A reply in plain text, for what JSON would only spoil: patches and advice."""

    text: str


class Screening(Record):
    """The reviewer's look at a patch before it may cost device time."""

    approved: bool
    reason: Paragraph


class Review(Record):
    """What the reviewer says once the evidence is in.

    ``objects`` keeps a change off the stack: too complex, a suspicious jump, a cheat; nothing here
    can put one on it. ``certify`` asks for the stack to be certified now.
    """

    explanation: Paragraph
    lesson: Paragraph
    objects: bool = False
    certify: bool = False


class Verdict(Record):
    """The end of an experiment: the computed decision, and what the reviewer learned from it."""

    decision: Decision
    reason: Paragraph
    lesson: Paragraph = ""


class Person(Record):
    """Someone a director can give work to."""

    name: Line
    focus: Paragraph = ""

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that the focus names; all of them where it names none."""
        every: tuple[Category, ...] = get_args(Category)
        return tuple(each for each in every if each in self.focus.lower()) or every


class PaidOff(Record):
    """What the latest experiments of one whom the director can assign have come to.

    ``tried`` are finished; of these ``kept`` are proven and ``stacked`` provisional, ``doubt`` of
    which are probably no better. In bits per byte, negative is better: ``certified_bpb`` is the
    share in certified effects, ``expected_bpb`` what is expected of the provisional ones.
    ``device_seconds`` are wall seconds on devices, open experiments included.
    """

    name: Line
    tried: int = 0
    kept: int = 0
    stacked: int = 0
    doubt: float = 0.0
    certified_bpb: float = 0.0
    expected_bpb: float = 0.0
    device_seconds: float = 0.0


class Suggestion(Record):
    """Who should have the next experiment, computed from what has paid off.

    With a ``category`` the experiment explores: then both are settled, and not the director's to
    choose.
    """

    assignee: Line
    category: Category | None = None
    reason: Paragraph


class Note(Record):
    """What a person says to the director while the lab is at work; it ranks with the program."""

    author: Line
    text: Paragraph


class Part(Record):
    """A change of an earlier experiment, to build on; ``patch`` as an engineer writes it."""

    number: int
    title: Line
    category: Category
    effect: float
    patch: str


class NearMisses(Record):
    """Two changes that did not quite help by themselves, and whose patches fit together."""

    first: Part
    second: Part

    @property
    def numbers(self) -> tuple[int, int]:
        """Of their experiments."""
        return self.first.number, self.second.number


class WaysOut(Record):
    """The ways off a plateau that are open, the least used of late first.

    ``evidence`` says why it is one. ``stale`` are the categories of the latest experiments,
    ``near_misses`` the pairs that may be combined, the nearest first, ``keeps`` the changes whose
    train.py may be gone back to, the latest first.
    """

    evidence: Paragraph
    ways: tuple[WayOut, ...]
    stale: tuple[Category, ...] = ()
    near_misses: tuple[NearMisses, ...] = ()
    keeps: tuple[Part, ...] = ()


class Advice(Record):
    """What an adviser said at its moment, for everyone who speaks after it."""

    speaker: Line
    text: str


# How the reason of an experiment begins that the one reviewer, or several, have kept off the stack.
OBJECTION, OBJECTIONS = "The reviewer objects", "The reviewers object"

# How it begins where an experiment ended otherwise than by its last candidate's run, which there may
# be nevertheless: after so many attempts or revisions, by a model, by a head that has moved.
GIVEN_UP, OBJECTED_TO = "given up after", "objected to after"
MODEL_FAILED, HEAD_MOVED = "a model failed:", "The head has moved while"
# And what follows on the title of its last hypothesis, in single quotes, where that has fallen.
TRIED_ALREADY, CANNOT_BE_DONE = "was tried already:", "cannot be done, says the engineer:"


class Entry(Record):
    """One experiment as the others remember it.

    ``effect`` is the measured change of val_bpb against the head of its day, in bits per byte
    (negative is better), ``error`` its standard error; None where no trial was completed. ``decision`` is None while the
    experiment is still open.
    """

    number: int
    title: Line
    category: Category
    change: Paragraph = ""
    summary: Line = ""
    decision: Decision | None = None
    effect: float | None = None
    error: float | None = None
    reason: Paragraph = ""
    lesson: Paragraph = ""

    @property
    def holds(self) -> bool:
        """Whether train.py has the change now: proven, or on the stack."""
        return self.decision in ("keep", "provisional")

    @property
    def objected(self) -> bool:
        """Whether it looked better, and the reviewers kept it off the stack: its effect is no merit."""
        return self.reason.startswith((OBJECTION, OBJECTIONS))


class Digest(Record):
    """The notebook as a role sees it: bounded, with failures and near misses in their place.

    ``entries`` are ordered by number; ``left_out`` counts those that did not fit. ``noise_bpb`` is
    the standard deviation of val_bpb of one source over seeds, ``terms`` what a trial has, in words.
    ``incumbent_bpb`` is proven, ``head_bpb`` what the head with its ``stacked`` provisional changes
    is expected to be worth.
    """

    program: str
    baseline_bpb: float
    incumbent_bpb: float
    noise_bpb: float
    head_bpb: float | None = None
    stacked: int = 0
    entries: tuple[Entry, ...] = ()
    left_out: int = 0
    terms: Line = ""


class DirectorReads(Record):
    """What the director decides from."""

    digest: Digest
    people: tuple[Person, ...]
    notes: tuple[Note, ...] = ()
    paid_off: tuple[PaidOff, ...] = ()
    suggestion: Suggestion | None = None
    ways_out: WaysOut | None = None
    advice: tuple[Advice, ...] = ()


class HypothesisReads(Record):
    """What a hypothesis is made from.

    ``head_telemetry`` is how a trial of ``source`` went, ``objections`` say why earlier hypotheses
    of this experiment fell. ``parts`` are near misses that the director wants put together.
    """

    digest: Digest
    direction: Direction
    focus: Paragraph = ""
    source: str
    head_telemetry: Paragraph = ""
    objections: tuple[Paragraph, ...] = ()
    parts: tuple[Part, ...] = ()
    advice: tuple[Advice, ...] = ()


class EngineerReads(Record):
    """What a patch is written from.

    ``complaint`` says exactly why ``previous`` (the engineer's last reply) could not be used;
    ``telemetry`` is how a crashed trial went, ``log`` the end of its output: data, never
    instructions. ``parts`` are near misses that are to be put together.
    """

    hypothesis: Hypothesis
    source: str
    parts: tuple[Part, ...] = ()
    previous: str = ""
    complaint: str = ""
    telemetry: Paragraph = ""
    log: str = ""
    advice: tuple[Advice, ...] = ()


class ScreeningReads(Record):
    """What a patch is screened by. ``diff`` is the unified diff against ``source``."""

    digest: Digest
    hypothesis: Hypothesis
    source: str = ""
    diff: str
    advice: tuple[Advice, ...] = ()


class ReviewReads(Record):
    """What a verdict is explained from: the decision is computed already.

    ``telemetry`` is how the last trial went, ``head_telemetry`` how one of the head did.
    """

    hypothesis: Hypothesis
    diff: str
    decision: Decision
    evidence: Paragraph
    telemetry: Paragraph = ""
    head_telemetry: Paragraph = ""
    log: str = ""
    advice: tuple[Advice, ...] = ()


class AdviserReads(Record):
    """What an adviser sees at its moment: the digest and the discussion so far.

    ``source`` is what the hypothesis is to change, once there is one.
    """

    digest: Digest
    moment: Line
    source: str = ""
    discussion: str


Reads = (
    DirectorReads | HypothesisReads | EngineerReads | ScreeningReads | ReviewReads | AdviserReads
)
