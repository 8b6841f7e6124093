"""Off a plateau: whether the lab is on one, and the ways that lead off it now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import get_args

from org.due import latest_expected
from org.head import head_sha
from org.noise import pair_spread
from org.notebook import Experiment, Notebook
from org.stack import stack
from roles.records import OBJECTION, OBJECTIONS, Category, NearMisses, Part, WayOut, WaysOut
from trainer.evidence.plateau import LEAST, WINDOW, expected_gain, on_plateau
from trainer.evidence.stack import run_error
from trainer.patch import Patch, PatchError, apply_patch, blocks, has_its_places
from trainer.setting import ProfileName
from trainer.source import normalized_sha

USED = 24  # of the latest experiments, by which ways are the least used
STALE = 3  # of the latest experiments, whose categories are no change
MISSES = 5  # near misses that are looked at, of the latest `MISSES_AMONG`
MISSES_AMONG = 200
PAIRS = 3  # shown
KEEPS = 5  # shown


def ways_out(notebook: Notebook, profile: ProfileName) -> WaysOut | None:
    """The ways off the plateau that the lab is on, the least used first; None off a plateau."""
    expected, error = latest_expected(notebook, WINDOW), run_error(pair_spread(notebook, profile))
    if not on_plateau(expected, error):
        return None
    head = notebook.source(head_sha(notebook))
    near_misses, keeps = tuple(_near_misses(notebook, head)), tuple(_keeps(notebook))
    closed: set[WayOut] = set()
    if not near_misses:
        closed.add("combine near misses")
    if not keeps:
        closed.add("go back")
    used = _used(notebook)
    every: tuple[WayOut, ...] = get_args(WayOut)
    return WaysOut(
        evidence=(
            f"the last {WINDOW} experiments that were judged are expected to have taken "
            f"{expected_gain(expected):.4f} bpb off val_bpb together, which is less than {LEAST:g} "
            f"of the error of a single run ({error:.4f})"
        ),
        ways=tuple(sorted((way for way in every if way not in closed), key=lambda way: used[way])),
        stale=_stale(notebook),
        near_misses=near_misses,
        keeps=keeps,
    )


def parts(notebook: Notebook, numbers: tuple[int, ...]) -> tuple[Part, ...]:
    """The patches of these experiments, to be put together."""
    return tuple(_part(_numbered(notebook, number)) for number in numbers)


def version_of(notebook: Notebook, number: int) -> str:
    """The SHA-256 of train.py as the kept change of an experiment left it."""
    (row,) = notebook.rows(
        "select source_sha from stack s join experiments e on e.id = s.experiment"
        " where e.number = :number",
        {"number": number},
    )
    return str(row["source_sha"])


def _near_misses(notebook: Notebook, head: str) -> Iterator[NearMisses]:
    """Pairs of patches that fell by the least and go onto the head together; not tried so far.

    What the reviewers kept off the stack missed nothing: a cheat has the best effect of all.
    """
    rows = notebook.rows(
        f"""select * from (select * from experiments order by number desc limit {MISSES_AMONG})
        where decision in ('discard', 'dropped') and effect is not null and patch_json is not null
        and reason not like :objection and reason not like :objections
        order by effect limit {MISSES}""",
        {"objection": f"{OBJECTION}%", "objections": f"{OBJECTIONS}%"},
    )
    misses = [Experiment(**row) for row in rows]
    pairs = sorted(combinations(misses, 2), key=lambda pair: sum(e.effect or 0.0 for e in pair))
    found = 0
    for pair in pairs:
        together = _together(pair[0].patch, pair[1].patch, head)
        if together is not None and not _is_tried(notebook, together):
            yield NearMisses(first=_part(pair[0]), second=_part(pair[1]))
            found += 1
        if found == PAIRS:
            return


@lru_cache(maxsize=64)  # on a plateau the same pairs are asked about again and again
def _together(one: Patch, other: Patch, head: str) -> str | None:
    """The head with both patches; None where they do not fit it, or each other."""
    both = Patch(edits=(*one.edits, *other.edits), summary="")
    if not has_its_places(both, head):
        return None
    try:
        return apply_patch(both, head)
    except PatchError:
        return None


def _is_tried(notebook: Notebook, source: str) -> bool:
    return bool(
        notebook.rows(
            "select 1 from experiments where normalized_sha = :sha limit 1",
            {"sha": normalized_sha(source)},
        )
    )


def _keeps(notebook: Notebook) -> Iterator[Part]:
    """The proven changes below the incumbent, the latest first; none while a stack is unproven.

    To go back from there would take the ground from under changes that nothing is proven of.
    """
    if stack(notebook):
        return
    rows = notebook.rows(
        "select e.* from experiments e join stack s on s.experiment = e.id"
        " where s.standing = 'keep' and s.source_sha != :head order by s.number desc limit :limit",
        {"head": head_sha(notebook), "limit": KEEPS},
    )
    yield from (_part(Experiment(**row)) for row in rows)


def _stale(notebook: Notebook) -> tuple[Category, ...]:
    rows = notebook.rows(
        "select category from experiments where decision is not null and category is not null"
        f" order by number desc limit {STALE}"
    )
    return tuple(dict.fromkeys(row["category"] for row in rows))


def _used(notebook: Notebook) -> Counter[WayOut]:
    """How often each way was taken of late."""
    rows = notebook.rows(
        "select json_extract(direction_json, '$.way_out') as way from experiments"
        f" where direction_json is not null order by number desc limit {USED}"
    )
    return Counter(row["way"] for row in rows)


def _numbered(notebook: Notebook, number: int) -> Experiment:
    (row,) = notebook.rows("select * from experiments where number = :number", {"number": number})
    return Experiment(**row)


def _part(experiment: Experiment) -> Part:
    return Part(
        number=experiment.number,
        title=experiment.title or "",
        category=experiment.category or "optimizer",
        effect=experiment.effect or 0.0,
        patch=blocks(experiment.patch),
    )
