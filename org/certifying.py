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
from org.stack import Proof, Purpose, open_proof, proofs, stack
from org.undisturbed import measure_fresh
from trainer.evidence.certify import SEEDS_EACH, Certification, Side

FIRST_SEED = 1000  # of certifications: far from those of baseline and search


def certify_stack(lab: Lab, why: str = "") -> None:
    """Certify the stack, for this reason or because it is due still, now that nobody else does.

    One that was interrupted is gone on with.

    Raises:
        Stopped: the run is being stopped; the certification is gone on with by the next one.
    """
    with lab.certifying:
        proof = open_proof(lab.notebook) or _begin(lab, why or why_due(lab))
        while proof is not None:
            proof = _conduct(lab, proof)


def _begin(lab: Lab, why: str) -> Proof | None:
    stacked, incumbent = stack(lab.notebook), lab.incumbent()
    if not stacked or not why:
        return None
    first = FIRST_SEED + SEEDS_EACH * sum(proof.number for proof in proofs(lab.notebook, 1))
    seeds = range(first, first + lab.config.review.max_seeds)
    purpose: Purpose = "simpler" if only_remove(stacked) else "stack"
    head = stacked[-1].source_sha
    return begin_certification(lab, purpose, why, head, len(stacked), list(seeds), incumbent)


def _conduct(lab: Lab, proof: Proof) -> Proof | None:
    """Run what a certification needs, and close it; the one that follows from it, if one does."""
    lab.onlooker.note(
        f"certification of {proof.in_words} ({proof.why}): up to {len(proof.seeds)} fresh seeds"
    )
    while (step := judged(lab.notebook, proof)).says == "more":
        lab.check_stop()
        _measure_pair(lab, proof, step)
    if proof.purpose == "pruned":
        lab.onlooker.certified(proof, end_pruning(lab, proof))
        return None
    lab.onlooker.certified(proof, claimed(lab.notebook, proof.number, proof.purpose, step))
    return promote(lab, proof, step) if step.says == "pass" else cut(lab, proof, step)


def _measure_pair(lab: Lab, proof: Proof, step: Certification) -> None:
    """The run that is asked for, and the other of its pair beside it where a device is free."""
    assert step.seed is not None and step.side is not None
    other: Side = "incumbent" if step.side == "head" else "head"
    other_sha = proof.incumbent_sha if other == "incumbent" else proof.source_sha
    is_done = lab.notebook.certification_trials(other_sha, [step.seed])
    sides = [step.side, *([] if is_done else [other])]
    sides = sides[: len(lab.devices.names) or 1]
    with ThreadPoolExecutor(len(sides), thread_name_prefix="certify") as pool:
        for future in [pool.submit(_measure, lab, proof, side, step.seed) for side in sides]:
            future.result()


def _measure(lab: Lab, proof: Proof, side: Side, seed: int) -> None:
    source_sha = proof.source_sha if side == "head" else proof.incumbent_sha
    trial_id = f"certify-{source_sha[:12]}-{seed}"
    what = f"certification {proof.number}, {side}, seed {seed}"
    place = f"certify {side}"
    source = lab.notebook.source(source_sha)
    try:
        trial_id, trial = measure_fresh(lab, Asker(place, what), trial_id, source, seed, "certify")
    finally:
        lab.onlooker.doing(place, "")
    lab.notebook.record_trial(trial_id, lab.run.id, None, "certify", trial)
    lab.onlooker.measured(what, trial)
