"""Certification: the head against the incumbent on fresh seeds, and what becomes of the stack.

Whatever was begun is gone on with, also after a kill: each run has an id that is known beforehand,
and what to do next follows from the runs in the notebook alone. Once the hours of the budget are
over, a stack is still proven, but no half of it is tried and nothing pruned.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf
from statistics import fmean

from org.claims import claimed
from org.escape import TRIED_SINCE_CERTIFIED, latest_expected
from org.lab import Lab
from org.measuring import Asker
from org.noise import pair_spread, run_spread
from org.notebook import Incumbent, Notebook
from org.stack import (
    Change,
    Proof,
    Purpose,
    begin_proof,
    changes,
    fail_proof,
    open_proof,
    pass_proof,
    proofs,
    stack,
)
from org.undisturbed import measure_soon
from roles.records import Hypothesis
from trainer.evidence.certify import Certification, Side, certify, half
from trainer.evidence.effect import Run
from trainer.evidence.prune import Support, doubtful, prune, simplify
from trainer.evidence.seeds import ignores_seed
from trainer.evidence.stack import PLATEAU_RUNS, due
from trainer.patch import Patch, PatchError, apply_patch

# Seeds of certifications begin here, so many for each: far from those of baseline and search.
FIRST_SEED, SEEDS_EACH = 1000, 10

# Of a pruning that can no longer be adopted: it would take the ground from under what came on top.
OVERTAKEN = Certification(says="fail", reason="others came on top meanwhile")

# What has to be no worse; anything else has to be better.
RULES = {"pruned": prune, "simpler": simplify, "simpler half": simplify}

RUNS_SINCE = f"select count(*) as n from trials where {TRIED_SINCE_CERTIFIED}"


def why_due(lab: Lab) -> str:
    """Why the stack should be certified now, in a word or two; "" if it should grow."""
    stacked = stack(lab.notebook)
    if not stacked:
        return ""
    if asked := [change.asked for change in stacked if change.asked]:
        return f"asked for: {asked[-1]}"
    review = lab.config.review
    return due(
        [change.expected_bpb for change in stacked],
        pair=pair_spread(lab.notebook, lab.setting.profile),
        runs_since=_runs_since_certified(lab),
        latest_bpb=latest_expected(lab.notebook, PLATEAU_RUNS, since_certified=True),
        runs_left=_runs_left(lab),
        every=review.certify_every,
        max_seeds=review.max_seeds,
    )


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
    purpose: Purpose = "simpler" if _only_remove(stacked) else "stack"
    head = stacked[-1].source_sha
    return _begin_proof(lab, purpose, why, head, len(stacked), list(seeds), incumbent)


def _only_remove(stacked: list[Change]) -> bool:
    """Whether changes all remove lines: then it is a win if what they make is no worse."""
    return all(change.lines_added < 0 for change in stacked)


def _begin_proof(
    lab: Lab,
    purpose: Purpose,
    why: str,
    source_sha: str,
    size: int,
    seeds: list[int],
    incumbent: Incumbent,
    pruned: list[int] | None = None,
) -> Proof:
    run = run_spread(lab.notebook, lab.setting.profile)
    pair = pair_spread(lab.notebook, lab.setting.profile)
    return begin_proof(
        lab.notebook,
        run=lab.run.id,
        purpose=purpose,
        why=why,
        incumbent=incumbent.number,
        incumbent_sha=incumbent.source_sha,
        source_sha=source_sha,
        size=size,
        seeds_json=json.dumps(seeds),
        run_bpb=run.bpb,
        run_freedom=run.freedom,
        pair_bpb=pair.bpb,
        pair_freedom=pair.freedom,
        pruned_json=json.dumps(pruned or []),
        reason="",
    )


def _conduct(lab: Lab, proof: Proof) -> Proof | None:
    """Run what a certification needs, and close it; the one that follows from it, if one does."""
    lab.onlooker.note(
        f"certification of {_together(proof)} ({proof.why}): up to {len(proof.seeds)} fresh seeds"
    )
    while (step := judged(lab.notebook, proof)).says == "more":
        lab.check_stop()
        _measure_pair(lab, proof, step)
    if proof.purpose == "pruned":
        lab.onlooker.certified(proof, _end_pruning(lab, proof))
        return None
    lab.onlooker.certified(proof, claimed(lab.notebook, proof.number, proof.purpose, step))
    return _promote(lab, proof, step) if step.says == "pass" else _cut(lab, proof, step)


def judged(notebook: Notebook, proof: Proof) -> Certification:
    """What a certification says, from the fresh runs of both sides and the noise of its day.

    A pruning has failed as soon as there is anything on top of what it would prune.
    """
    if proof.purpose == "pruned" and stack(notebook):
        return OVERTAKEN
    if ignores_seed(notebook.certification_trials(proof.source_sha, proof.seeds)):
        reason = "two seeds came to the very same val_bpb: it ignores the seed it is given"
        return Certification(says="fail", reason=reason)
    return RULES.get(proof.purpose, certify)(
        *(_runs(notebook, sha, proof.seeds) for sha in (proof.source_sha, proof.incumbent_sha)),
        seeds=proof.seeds,
        run=proof.run_spread,
        pair=proof.pair_spread,
    )


def _runs(notebook: Notebook, source_sha: str, seeds: list[int]) -> list[Run]:
    return [
        (trial.seed, inf if trial.val_bpb is None else trial.val_bpb)
        for trial in notebook.certification_trials(source_sha, seeds)
    ]


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
        trial_id, trial = measure_soon(lab, Asker(place, what), trial_id, source, seed, "certify")
    finally:
        lab.onlooker.doing(place, "")
    lab.notebook.record_trial(trial_id, lab.run.id, None, "certify", trial)
    lab.onlooker.measured(what, trial)


# --- what follows -------------------------------------------------------------------------------
# A proof is closed and what follows from it begun in one transaction: a kill comes before or after.


def _cut(lab: Lab, proof: Proof, step: Certification) -> Proof | None:
    """The first half is tried, once; else all that is on the stack goes."""
    is_last = proof.is_half or lab.hours_are_over()
    size = 0 if is_last else half(proof.size, [proof.size])
    with lab.moving, lab.notebook.transaction():
        stacked = stack(lab.notebook)
        fail_proof(lab.notebook, proof, step, dropped=[] if size else stacked)
        if not size:
            return None
        purpose: Purpose = "simpler half" if _only_remove(stacked[:size]) else "half"
        head, why = stacked[size - 1].source_sha, "the stack failed"
        return _begin_proof(lab, purpose, why, head, size, proof.seeds, lab.incumbent())


def _promote(lab: Lab, proof: Proof, step: Certification) -> Proof | None:
    """The source is the incumbent; then what looks needless in it is tried to do without."""
    with lab.moving:
        stacked, before = stack(lab.notebook), lab.incumbent()
        kept, above = stacked[: proof.size], stacked[proof.size :]
        certificate = _certificate(lab, proof, step)
        commits, parent = [], before.commit_sha
        for change in kept:
            parent = _commit(lab, change, certificate, parent)
            commits.append((change, parent))
        incumbent = _incumbent(lab, before, proof, kept[-1].experiment, parent)
        # What came on top of a stack that passed as a whole stays; after a half, it fell with it.
        dropped = above if proof.is_half else []
        with lab.notebook.transaction():
            pass_proof(lab.notebook, proof, step, incumbent, commits, dropped)
            following = _begin_pruning(lab, proof, kept, before)
        lab.publish(incumbent)
    return following


def _incumbent(
    lab: Lab, before: Incumbent, proof: Proof, experiment: str | None, commit_sha: str
) -> Incumbent:
    """What passed, judged by its fresh runs alone: the ones that it was chosen by are left behind."""
    return Incumbent(
        number=before.number + 1,
        source_sha=proof.source_sha,
        experiment=experiment,
        commit_sha=commit_sha,
        certification=proof.number,
        val_bpb=fmean(bpb for _, bpb in lab.notebook.fresh_runs(proof.source_sha)),
        since=time.time(),
    )


def _commit(lab: Lab, change: Change, certificate: str, parent: str) -> str:
    """One commit for one change: what it is, why, what its own run said, and the certificate."""
    experiment = lab.notebook.experiment(change.experiment)
    hypothesis = Hypothesis.model_validate_json(experiment.hypothesis_json or "")
    message = (
        f"{hypothesis.title}\n\n{hypothesis.change}\n\nBecause: {hypothesis.mechanism}\n\n"
        f"Evidence: {(experiment.reason or '').partition(chr(10))[0]}\n"
        f"{certificate}\nLesson: {experiment.lesson}"
    )
    source = lab.notebook.source(change.source_sha)
    return lab.lineage.write(source, message, experiment_id=change.experiment, parent=parent)


def _certificate(lab: Lab, proof: Proof, step: Certification) -> str:
    """What was proven, of how many changes, under which seeds, and what the audit text says."""
    seeds = sorted(seed for seed, _ in _runs(lab.notebook, proof.source_sha, proof.seeds))
    audit = lab.notebook.audit_gain(proof.source_sha, proof.incumbent_sha, seeds)
    said = "" if audit is None else f"; on the audit text {audit:+.4f}".replace("-", "−")
    told = claimed(lab.notebook, proof.number, proof.purpose, step)
    effect = told.effect.text if told.effect else ""
    rule = f" ({step.reason})" if proof.asks_no_worse else ""
    return (
        f"Certificate {proof.number}: {effect} for {_together(proof)}{rule}, "
        f"seeds {', '.join(map(str, seeds))}{said}"
    )


def _together(proof: Proof) -> str:
    changes_count = f"{proof.size} changes together" if proof.size > 1 else "1 change"
    return f"{changes_count}{proof.qualified}"


def _begin_pruning(lab: Lab, proof: Proof, kept: list[Change], before: Incumbent) -> Proof | None:
    """A proof of the new incumbent without the changes that seem to do little, where that applies."""
    run = run_spread(lab.notebook, lab.setting.profile)
    support = [
        Support(change=str(c.number), expected_bpb=c.expected_bpb, lines_added=c.lines_added)
        for c in kept
    ]
    needless = {int(number) for number in doubtful(support, run)}
    if not needless or len(needless) == len(kept) or lab.hours_are_over():
        return None
    if stack(lab.notebook):
        return None  # with others on top already it would take the ground from under them
    source = lab.notebook.source(before.source_sha)
    for change in kept:
        if change.number not in needless:
            patch = lab.notebook.experiment(change.experiment).patch_json
            try:
                source = apply_patch(Patch.model_validate_json(patch or ""), source)
            except PatchError:
                return None  # what is left does not stand without them
    source_sha = lab.notebook.keep_source(source)
    size = len(kept) - len(needless)
    return _begin_proof(
        lab,
        "pruned",
        f"without {len(needless)} that do little",
        source_sha,
        size,
        proof.seeds,
        lab.incumbent(),
        sorted(needless),
    )


def _end_pruning(lab: Lab, proof: Proof) -> Certification:
    """What is not needed goes, by a commit of its own; what was said of it in the end."""
    with lab.moving:  # and nobody comes on top any more
        step = judged(lab.notebook, proof)
        if step.says == "fail":
            fail_proof(lab.notebook, proof, step, dropped=[])
            return step
        before = lab.incumbent()
        gone = changes(lab.notebook, proof.pruned)
        titles = ", ".join(
            lab.notebook.experiment(change.experiment).title or "" for change in gone
        )
        commit_sha = lab.lineage.write(
            lab.notebook.source(proof.source_sha),
            f"Without {titles}\n\nSimpler, and no worse by more than the margin.\n"
            f"{_certificate(lab, proof, step)}",
            experiment_id=f"pruning-{proof.number}",
            parent=before.commit_sha,
        )
        incumbent = _incumbent(lab, before, proof, None, commit_sha)
        pass_proof(lab.notebook, proof, step, incumbent, [], gone)
        lab.publish(incumbent)
        return step


# --- counting -----------------------------------------------------------------------------------


def _runs_since_certified(lab: Lab) -> int:
    """How many candidates have been run after the last trial of a certification; clocks may go back."""
    (row,) = lab.notebook.rows(RUNS_SINCE)
    return int(row["n"])


def _runs_left(lab: Lab) -> int | None:
    """How many trials the hours still allow; None where the run ends after so many experiments."""
    hours = lab.config.budget.hours
    (row,) = lab.notebook.rows("select sum(seconds) / sum(count) as seconds from trials_totals")
    if hours is None or not row["seconds"]:
        return None
    left_seconds = max(hours * 3600 - lab.worked_seconds(), 0.0)
    return int(left_seconds / row["seconds"] * len(lab.devices.names))
