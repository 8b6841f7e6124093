"""Certification: the head against the incumbent on fresh seeds.

Whatever was begun is gone on with, also after a kill: each run has an id that is known beforehand,
and what to do next follows from the runs in the notebook alone. Once the hours of the budget are
over, a stack is still proven, but no half of it is tried and nothing pruned.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from org.claims import claimed
from org.due import why_due
from org.judging import judged
from org.lab import Lab
from org.measuring import Asker
from org.promoting import begin_certification, cut, end_pruning, only_remove, promote
from org.stack import Certification, Purpose, certifications, open_certification, stack
from org.undisturbed import measure_fresh
from trainer.evidence.certify import SEEDS_EACH, Judgement, Side

FIRST_SEED = 1000  # of certifications: far from those of baseline and search


def certify_stack(lab: Lab, why: str = "") -> None:
    """Certify the stack, for this reason or because it is due still, now that nobody else does.

    One that was interrupted is gone on with.

    Raises:
        Stopped: the run is being stopped; the certification is gone on with by the next one.
    """
    with lab.certifying:
        certification = open_certification(lab.notebook) or _begin(lab, why or why_due(lab))
        while certification is not None:
            certification = _conduct(lab, certification)


def _begin(lab: Lab, why: str) -> Certification | None:
    stacked, incumbent = stack(lab.notebook), lab.incumbent()
    if not stacked or not why:
        return None
    first = FIRST_SEED + SEEDS_EACH * sum(
        certification.number for certification in certifications(lab.notebook, 1)
    )
    seeds = range(first, first + lab.config.review.max_seeds)
    purpose: Purpose = "simpler" if only_remove(stacked) else "stack"
    head = stacked[-1].source_sha
    return begin_certification(lab, purpose, why, head, len(stacked), list(seeds), incumbent)


def _conduct(lab: Lab, certification: Certification) -> Certification | None:
    """Run what a certification needs, and close it; the one that follows from it, if one does."""
    lab.onlooker.note(
        f"certification of {certification.in_words} ({certification.why}): up to {len(certification.seeds)} fresh seeds"
    )
    while (judgement := judged(lab.notebook, certification)).says == "more":
        lab.check_stop()
        _measure_pair(lab, certification, judgement)
    if certification.purpose == "pruned":
        lab.onlooker.certified(certification, end_pruning(lab, certification))
        return None
    lab.onlooker.certified(
        certification, claimed(lab.notebook, certification.number, certification.purpose, judgement)
    )
    return (
        promote(lab, certification, judgement)
        if judgement.says == "pass"
        else cut(lab, certification, judgement)
    )


def _measure_pair(lab: Lab, certification: Certification, judgement: Judgement) -> None:
    """The run that is asked for, and the other of its pair beside it where a device is free."""
    assert judgement.seed is not None and judgement.side is not None
    other: Side = "incumbent" if judgement.side == "head" else "head"
    other_sha = certification.incumbent_sha if other == "incumbent" else certification.source_sha
    is_done = lab.notebook.certification_trials(other_sha, [judgement.seed])
    sides = [judgement.side, *([] if is_done else [other])]
    sides = sides[: len(lab.devices.names) or 1]
    with ThreadPoolExecutor(len(sides), thread_name_prefix="certify") as pool:
        for future in [
            pool.submit(_measure, lab, certification, side, judgement.seed) for side in sides
        ]:
            future.result()


def _measure(lab: Lab, certification: Certification, side: Side, seed: int) -> None:
    source_sha = certification.source_sha if side == "head" else certification.incumbent_sha
    trial_id = f"certify-{source_sha[:12]}-{seed}"
    what = f"certification {certification.number}, {side}, seed {seed}"
    place = f"certify {side}"
    source = lab.notebook.source(source_sha)
    try:
        trial_id, trial = measure_fresh(lab, Asker(place, what), trial_id, source, seed, "certify")
    finally:
        lab.onlooker.doing(place, "")
    lab.notebook.record_trial(trial_id, lab.run.id, None, "certify", trial)
    lab.onlooker.measured(what, trial)
