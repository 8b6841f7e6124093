"""Off a plateau in a whole organization: the director must choose a way, and each way is really gone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from org.escape import ways_out
from org.lab import Lab
from roles.director import leading
from roles.records import (
    Category,
    Direction,
    Hypothesis,
    NearMisses,
    Part,
    Verdict,
    WaysOut,
)
from tests.organizations import (
    TWO_LINES,
    Organization,
    Organize,
    Said,
    direction,
    idea,
    kept_sources,
    patch,
    plain_experiment,
    review,
    screening,
    work,
)
from trainer.evidence.plateau import WINDOW
from trainer.patch import Edit, Patch, apply_patch
from trainer.source import normalized_sha, source_sha

PAST = [("GAIN = 0.0", "GAIN = -0.2"), ("LIFT = 0.0", "LIFT = -0.1")]


def tried_in_vain(lab: Lab, used: tuple[str, ...] = ()) -> None:
    """A plateau's worth of experiments that came to nothing, the first two the nearest misses."""
    notebook, program = lab.notebook, lab.read_program()
    head = lab.run.baseline_sha
    for count in range(WINDOW):
        experiment = notebook.reserve_experiment(lab.run.id, "desk 1", None)
        assert experiment is not None
        way = used[count] if count < len(used) else None
        category: Category = "schedule" if count < WINDOW - 3 else "optimizer"
        said: dict[str, Any] = {"category": category, "focus": "", "assignee": "thinker"}
        led = Direction.model_validate({**said, "reason": "", "way_out": way})
        notebook.set_direction(experiment.id, led, program, head)
        old, new = PAST[count] if count < len(PAST) else ("GAIN = 0.0", f"GAIN = -{count}.0")
        title = f"Lower {old.split()[0]} from 0.0 to {new.split()[-1]}"
        notebook.set_hypothesis(
            experiment.id,
            Hypothesis(
                title=title, category=category, change=new, mechanism="", expected_effect=-0.1
            ),
        )
        edits = Patch(edits=(Edit(search=f"{old}\n", replace=f"{new}\n"),), summary=title)
        candidate = apply_patch(edits, notebook.source(head))
        notebook.keep_source(candidate)
        notebook.set_patch(
            experiment.id,
            edits,
            head_sha=head,
            candidate_sha=source_sha(candidate),
            normalized_sha=normalized_sha(candidate),
        )
        verdict = Verdict(decision="discard", reason="not better")
        notebook.close_experiment(experiment.id, verdict, 0.01 * (count + 1), 0.001)


def on_a_plateau(organize: Organize, *said: Said, **fields: Any) -> Organization:
    return organize(source=TWO_LINES, experiments=WINDOW + 1, script=list(said), **fields)


def combined() -> Said:
    text = "SUMMARY: both\n" + "\n".join(
        f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE" for old, new in PAST
    )
    return "engineer", text


def test_on_a_plateau_a_direction_that_names_no_way_off_it_is_sent_back(organize: Organize):
    organization = on_a_plateau(organize, direction(), idea("Both"), combined())
    worked = work(organization, opened=tried_in_vain)
    (reason,) = worked.reasons
    assert "reply 1 of 'director' should be a Direction" in reason
    assert "way_out: Field required" in reason
    organization.script[0] = direction(way_out="combine near misses", builds_on=[2, 1])
    organization.script += [screening(), review()]
    organization.write()
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    (director,) = worked.asked("director")
    assert "are expected to have taken 0.0000 bpb" in director.ways_out.evidence
    assert director.suggestion.category is None  # a way off leads elsewhere, no need to explore
    (thinker,), (engineer,) = worked.asked("thinker"), worked.asked("engineer")
    assert [part.number for part in thinker.parts] == [2, 1]
    assert engineer.parts == thinker.parts
    assert "LIFT = -0.1" in engineer.parts[0].patch
    last = organization.experiment(WINDOW + 1)
    with organization.notebook() as notebook:
        tried = notebook.source(last.candidate_sha or "")
        assert ways_out(notebook, "cpu").near_misses[0].numbers != (1, 2)  # type: ignore[union-attr]
    assert "GAIN = -0.2" in tried
    assert "LIFT = -0.1" in tried


def test_going_back_writes_on_an_earlier_keep_and_is_measured_against_the_head(
    organize: Organize,
):
    organization = organize(
        source=TWO_LINES,
        experiments=2,
        script=[
            *plain_experiment("GAIN = 0.0", "GAIN = 0.3"),
            *plain_experiment("LIFT = 0.0", "LIFT = 0.3"),
        ],
    )
    assert work(organization).reasons == []
    organization.experiments = WINDOW + 1
    organization.script += [
        *(direction(way_out="go back", builds_on=[1]), idea("Far more gain")),
        *(patch("GAIN = 0.3", "GAIN = 1.5"), screening(), review()),
    ]
    organization.write()
    worked = work(organization, opened=tried_in_vain)
    assert (worked.reasons, worked.left) == ([], {})
    (director,) = worked.asked("director")
    assert [keep.number for keep in director.ways_out.keeps] == [1]
    (engineer,) = worked.asked("engineer")
    assert "GAIN = 0.3\nLIFT = 0.0\n" in engineer.source
    assert engineer.hypothesis.change.startswith("On train.py as experiment 1 left it")
    screened, reviewed = worked.asked("reviewer")
    assert "-LIFT" not in screened.diff
    assert "-LIFT = 0.3" in reviewed.diff
    assert organization.experiment(2 + WINDOW + 1).decision == "keep"
    first = TWO_LINES.replace("GAIN = 0.0", "GAIN = 0.3")
    both = first.replace("LIFT = 0.0", "LIFT = 0.3")
    back = TWO_LINES.replace("GAIN = 0.0", "GAIN = 1.5")
    assert kept_sources(organization) == [TWO_LINES, first, both, back]


def test_the_playbook_puts_the_two_nearest_misses_together_when_the_other_ways_were_gone(
    organize: Organize,
):
    used = ("change category", "simplify", "go back")
    organization = on_a_plateau(organize, model="playbook")
    worked = work(organization, opened=partial(tried_in_vain, used=used))
    assert worked.reasons == []
    last = organization.experiment(WINDOW + 1)
    assert last.title == "Combine #1 with #2"
    with organization.notebook() as notebook:
        tried = notebook.source(last.candidate_sha or "")
    assert "GAIN = -0.2\nLIFT = -0.1\n" in tried
    assert len(organization.trials(WINDOW + 1)) == 1


def test_what_the_review_kept_off_the_stack_is_never_put_together_with_another(
    organize: Organize,
):
    organization = organize(
        source=TWO_LINES,
        script=[
            *plain_experiment("GAIN = 0.0", "GAIN = 0.3")[:-1],
            review(words="It has the text by heart.", objects=True),
        ],
    )
    assert work(organization).reasons == []
    cheat = organization.experiment(1)
    assert (cheat.decision, (cheat.effect or 0.0) < -0.01) == ("discard", True)
    organization.experiments = WINDOW + 1
    organization.write()
    work(organization, opened=tried_in_vain)  # the script is at its end: nobody is asked more
    with organization.notebook() as notebook:
        ways = ways_out(notebook, "cpu")
    assert ways is not None
    assert ways.near_misses
    assert all(1 not in pair.numbers for pair in ways.near_misses)
    assert ways.near_misses[0].numbers == (2, 3)


# --- what fits a way ----------------------------------------------------------------------------


def part(number: int) -> Part:
    return Part(number=number, title=f"t{number}", category="batch", effect=0.001, patch="")


WAYS = WaysOut(
    evidence="nothing was gained",
    ways=("change category", "simplify", "combine near misses", "go back"),
    stale=("schedule",),
    near_misses=(NearMisses(first=part(3), second=part(5)),),
    keeps=(part(2),),
)


def led(category: Category, way: str, builds_on: tuple[int, ...] = ()) -> dict[str, Any]:
    said = {"category": category, "focus": "", "assignee": "a", "reason": ""}
    return said | {"way_out": way, "builds_on": builds_on}


@pytest.mark.parametrize(
    "said",
    [
        led("batch", "change category"),
        led("simplification", "simplify"),
        led("batch", "combine near misses", (5, 3)),
        led("schedule", "go back", (2,)),
    ],
)
def test_each_way_has_what_it_asks_for(said: dict[str, Any]):
    assert isinstance(leading(WAYS).model_validate(said), Direction)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (led("schedule", "change category"), "take one that is not of schedule"),
        (led("schedule", "simplify"), "the category is simplification"),
        (led("batch", "combine near misses"), r"builds_on is one of \[\(3, 5\)\]"),
        (led("batch", "go back", (3,)), r"builds_on is one of \[\(2,\)\]"),
        (led("batch", "straight on"), "way_out"),
    ],
)
def test_what_a_way_asks_for_is_said_where_it_is_missing(said: dict[str, Any], told: str):
    with pytest.raises(ValueError, match=told):
        leading(WAYS).model_validate(said)


def test_a_way_that_is_closed_is_none():
    narrow = leading(WAYS.model_copy(update={"ways": ("simplify",)}))
    with pytest.raises(ValueError, match="Input should be 'simplify'"):
        narrow.model_validate(led("batch", "change category"))
