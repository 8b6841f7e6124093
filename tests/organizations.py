"""Whole organizations for tests: a folder with everything in it, scripted people, tiny trials.

What is scripted stands at the far end of a door: replies behind the door to models, a train.py of
a few lines behind the door to a device. Everything in between is the real thing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import yaml
from click.testing import CliRunner

from org.cli import main
from org.config_reading import load_config
from org.desk import run
from org.lab import Lab
from org.lineage import Lineage
from org.notebook import Experiment, Notebook
from org.onlooker import Nobody, Onlooker
from org.opening import open_lab
from org.verifying import verify
from roles.model import Answer, Brief, Model, Reply
from roles.scripted import ScriptedModel
from tests.sources import SCRIPTED
from trainer.corpus import kjv_chapters
from trainer.setting import Setting

Said = tuple[str, Any]  # a role's name and its reply, as a script has them

# Long enough that no load of the machine matters: whoever waits so long waits for nothing.
PATIENCE_SECONDS = 90.0

NO_SANDBOX = {"sandbox": "none"}  # for trials that say outside of their folder what they do

# Two lines that each make it better by themselves, and more so together.
TWO_LINES = SCRIPTED.replace("GAIN = 0.0\n", "GAIN = 0.0\nLIFT = 0.0\n").replace(
    "GAIN * likely", "(GAIN + LIFT) * likely"
)


def gated(folder: Path) -> str:
    """SCRIPTED, where each trial leaves its name in ``started`` and waits while a gate of that name
    is shut: so a test knows when it is at work, and how often it was begun.

    It reaches out of its folder for that: run it in an organization without a sandbox.
    """
    return f"""
import time
from pathlib import Path
from trainer import prepare
FOLDER = Path({str(folder)!r})
{SCRIPTED}""".replace(
        "prepare.evaluate",
        """name = f"gain {GAIN} seed {setting.seed}"
if Path.cwd().name == "work":  # and not the smoke test, or the process that is asked again
    with (FOLDER / "started").open("a") as started:
        started.write(name + chr(10))
    while (FOLDER / "gates" / name).exists():
        time.sleep(0.01)
prepare.evaluate""",
    )


def tiny_setting_on(texts: Path) -> Setting:
    """Little text, a small vocabulary, short rows; time is no matter, so that no load matters.

    ``texts`` is a folder; the text is put there if nothing is in it yet.
    """
    texts.mkdir(exist_ok=True)
    if not any(texts.iterdir()):
        for number, chapter in enumerate(islice(kjv_chapters(), 40)):
            (texts / f"{number}.txt").write_text(chapter)
    return Setting(
        profile="cpu",
        corpus=f"files:{texts}",
        vocabulary=300,
        sequence_length=32,
        evaluation_tokens=1024,
        seconds=0.2,
        startup_seconds=60.0,
    )


def start_run(organization: Organization, **how: Any) -> subprocess.Popen[Any]:
    """`python -m org run` in a session of its own, as a person would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "org", "run"],
        cwd=organization.folder,
        start_new_session=True,
        **how,
    )


# --- what is said ---------------------------------------------------------------------------------


def direction(assignee: str = "thinker", **more: object) -> Said:
    said = {"category": "optimizer", "focus": "The gain.", "assignee": assignee, "reason": "Try."}
    return "director", said | more


def idea(title: str = "Another gain", who: str = "thinker") -> Said:
    return who, {
        "title": title,
        "category": "optimizer",
        "change": "Change the gain.",
        "mechanism": "Small letters are likelier.",
        "expected_effect": -0.1,
    }


def patch(old: str, new: str) -> Said:
    text = f"SUMMARY: {new}\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"
    return "engineer", text


def screening(reason: str = "One change.", *, approved: bool = True, who: str = "reviewer") -> Said:
    return who, {"approved": approved, "reason": reason}


def review(
    lesson: str = "Gains matter.",
    *,
    who: str = "reviewer",
    words: str = "As measured.",
    **more: bool,
) -> Said:
    return who, {"explanation": words, "lesson": lesson, **more}


def plain_experiment(old: str, new: str) -> list[Said]:
    """Everything that is said in an experiment in which nothing goes wrong."""
    return [direction(), idea(new), patch(old, new), screening(), review()]


def refused(gain: float) -> list[Said]:
    """An experiment that is given up before it costs a trial; its engineer has one attempt."""
    old, new = "GAIN = 0.0", f"GAIN = {gain}"
    small = screening("Too small.", approved=False)
    return [direction(), idea(new), patch(old, new), small, review()]


def of_few_words(wanted: str, gain: float) -> str:
    """What a language model says when asked for a reply of this type, in an experiment `refused`."""
    types = ("Direction", "Hypothesis", "Prose", "Screening", "Review")
    replies = {name: reply for name, (_, reply) in zip(types, refused(gain), strict=True)}
    return replies[wanted] if wanted == "Prose" else json.dumps(replies[wanted])


# --- an organization ------------------------------------------------------------------------------


@dataclass
class Organization:
    """An organization in a folder of its own; write it before use, and again after a change."""

    folder: Path
    setting: Setting
    source: str = SCRIPTED
    script: list[Said] = field(default_factory=list)
    model: object = "scripted:script.yaml"
    experiments: int = 1
    attempts: int = 3
    lab_name: str = "lab"
    advisers: list[Mapping[str, str]] = field(default_factory=list)
    roles: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def config_path(self) -> Path:
        return self.folder / "org.yaml"

    @property
    def lab(self) -> Path:
        return self.folder / self.lab_name

    def write(self) -> None:
        """Write org.yaml and everything that it names."""
        self.folder.mkdir(exist_ok=True)
        terms = self.setting.model_dump()
        roles: dict[str, Any] = {
            "director": {"prompt": "prompt.md"},
            "hypothesis": [{"name": "thinker", "prompt": "prompt.md"}],
            "engineer": {"prompt": "prompt.md", "attempts": self.attempts},
            "reviewer": {"prompt": "prompt.md"},
            "advisers": [{"prompt": "prompt.md", **adviser} for adviser in self.advisers],
        }
        text = {
            "program": "program.md",
            "train": "train.py",
            "lab": self.lab_name,
            "model": self.model,
            "roles": roles | self.roles,
            "desks": 1,
            "devices": ["cpu:0"],
            "trial": terms,
            "review": {"baseline_runs": 2, "max_seeds": 2},
            "budget": {"experiments": self.experiments},
        }
        self.config_path.write_text(yaml.safe_dump(text | self.more, sort_keys=False))
        (self.folder / "program.md").write_text("Lower val_bpb.\n")
        (self.folder / "prompt.md").write_text("Do your part.\n")
        (self.folder / "train.py").write_text(self.source)
        script = [{role: reply} for role, reply in self.script]
        (self.folder / "script.yaml").write_text(yaml.safe_dump(script))

    def adopt_trials(self, trials: Path) -> None:
        """Begin with trials that have been run before, such as the baseline's."""
        shutil.copytree(trials, self.lab / "trials")

    @contextmanager
    def notebook(self) -> Iterator[Notebook]:
        with closing(Notebook(self.lab / "notebook.sqlite")) as notebook:
            yield notebook

    def experiment(self, number: int = 1) -> Experiment:
        with self.notebook() as notebook:
            return notebook.experiments()[number - 1]

    def trials(self, number: int | None = None) -> list[tuple[str, str, float | None]]:
        """Purpose, outcome and score of all trials on record, or of one experiment's, in order."""
        sql = (
            "select t.purpose, t.outcome, t.val_bpb from trials t"
            " left join experiments e on e.id = t.experiment"
            " where :number is null or e.number = :number order by t.rowid"
        )
        with self.notebook() as notebook:
            return [tuple(row.values()) for row in notebook.rows(sql, {"number": number})]

    def said(self, number: int = 1) -> list[tuple[str, str]]:
        """Who spoke in an experiment, and at which step."""
        with self.notebook() as notebook:
            experiment = notebook.experiments()[number - 1]
            return [(each.speaker, each.kind) for each in notebook.messages(experiment.id)]

    def replies_count(self) -> int:
        """How many replies of models are on record."""
        with self.notebook() as notebook:
            (row,) = notebook.rows("select count(*) as n from messages where model is not null")
            return int(row["n"])

    def faults(self) -> list[str]:
        """What does not hold together in the lab."""
        return faults(self.lab)


Organize = Callable[..., Organization]  # the fixture `organize`, which writes one


def faults(lab: Path) -> list[str]:
    """What does not hold together in a lab."""
    return [finding.text for finding in verify(lab) if not finding.ok]


def org(organization: Organization, command: str, *words: str) -> tuple[int, str]:
    """What a command in another terminal comes to, and what it says, in one line."""
    where = ("--config", str(organization.config_path))
    told = CliRunner().invoke(main, [command, *where, *words], terminal_width=300)
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    return told.exit_code, " ".join(told.output.split())


def kept_sources(organization: Organization) -> list[str]:
    """Every proven train.py, change by change, once it is sure that all records of them agree."""
    lineage = Lineage(organization.lab / "lineage", organization.lab.name)
    log = lineage.log()
    with organization.notebook() as notebook:
        incumbents = notebook.incumbents()
        rows = notebook.rows("select * from stack order by number")
        kept = [row for row in rows if row["standing"] == "keep"]
        decisions = {each.id: each.decision for each in notebook.experiments()}
        sources = [notebook.source(row["source_sha"]) for row in kept]
        baseline = notebook.source(incumbents[0].source_sha)
        proven = notebook.source(incumbents[-1].source_sha)
        passed = notebook.rows("select count(*) as n from certifications where says = 'pass'")
    assert [each.commit for each in log[1:]] == [row["commit_sha"] for row in kept]
    assert [each.experiment_id for each in log[1:]] == [row["experiment"] for row in kept]
    assert [decisions[row["experiment"]] for row in rows] == [row["standing"] for row in rows]
    assert lineage.sources_at([each.commit for each in log]) == [baseline, *sources]
    assert len(incumbents) == 1 + passed[0]["n"]
    assert lineage.head() == incumbents[-1].commit_sha
    assert (organization.lab / "train.py").read_bytes() == proven.encode()
    return [baseline, *sources]


# --- a run of it ----------------------------------------------------------------------------------

Hold = Callable[[Brief], None]


class Hears(Nobody):
    """Keeps the notes, and what the desks do."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
        self.done.append(what)


class Overheard:
    """A model whose briefs are kept; ``hold`` may keep it waiting before it answers."""

    def __init__(self, model: Model, briefs: list[Brief], hold: Hold) -> None:
        self.model, self.briefs, self.hold = model, briefs, hold

    @property
    def name(self) -> str:
        return self.model.name

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        self.briefs.append(brief)
        self.hold(brief)
        return self.model.ask(brief, reply_type)


@dataclass(frozen=True)
class Worked:
    """A run that has ended: why desks closed early, what was asked, what the script has left."""

    reasons: list[str]
    briefs: list[Brief]
    left: dict[str, int]

    def asked(self, role: str) -> list[Any]:
        """What a role read, each time it was asked."""
        return [brief.reads for brief in self.briefs if brief.role == role]


def work(
    organization: Organization,
    onlooker: Onlooker | None = None,
    hold: Hold = lambda brief: None,
    opened: Callable[[Lab], None] = lambda lab: None,
) -> Worked:
    """Open the organization's lab and run it; ``opened`` is told of the lab first."""
    config = load_config(organization.config_path)
    briefs: list[Brief] = []
    with open_lab(config, organization.lab, onlooker or Nobody()) as lab:
        scripts = list(lab.models.values())
        overheard = {name: Overheard(model, briefs, hold) for name, model in lab.models.items()}
        opened(lab)
        reasons = run(replace(lab, models=overheard))
    first = next(iter(scripts), None)
    left = first.remaining() if isinstance(first, ScriptedModel) else {}
    return Worked(reasons, briefs, left)


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE_SECONDS), "what was waited for never came"


def eventually(happened: Callable[[], Any]) -> Any:
    """Wait for what must happen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (outcome := happened()):
        assert time.monotonic() < deadline, "what was waited for never came"
        time.sleep(0.01)
    return outcome


def processes_about(folder: Path) -> list[psutil.Process]:
    """The processes that have ``folder`` in their command line or work in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@contextmanager
def killed_in_the_end(folder: Path) -> Iterator[list[subprocess.Popen[Any]]]:
    """A list of processes: what is left of them in the end, and of those about ``folder``, is killed."""
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    for other in processes_about(folder):
        other.kill()


def supervisor_at_work() -> psutil.Process:
    """The supervisor of the one trial that is run from here."""
    here = psutil.Process().children()
    (supervisor,) = [each for each in here if "trainer.supervisor" in each.cmdline()]
    return supervisor


# --- a run of it as a person starts it, with trials that are held up ------------------------------

Start = Callable[[Organization], subprocess.Popen[str]]


class Gates:
    """The gates that hold up the trials of `gated`, by name, and the trials that were begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gates").mkdir()

    def shut(self, name: str) -> None:
        (self.folder / "gates" / name).touch()

    def open(self, name: str) -> None:
        (self.folder / "gates" / name).unlink()

    @property
    def begun(self) -> Counter[str]:
        """How often each trial was begun."""
        path = self.folder / "started"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def wait_until_begun(self, name: str, times: int = 1) -> None:
        eventually(lambda: self.begun[name] == times)


def ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends well has said."""
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said
