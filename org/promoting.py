"""What follows from a certification: what is kept, what is cut, and which other one begins.

A proof is closed and what follows from it begun in one transaction: a kill comes before or after.
"""

from __future__ import annotations

import json
import time
from statistics import fmean

from org.claims import claimed
from org.figures import signed
from org.judging import judged
from org.lab import Lab
from org.noise import pair_spread, run_spread
from org.notebook import Incumbent
from org.stack import (
    Begun,
    Change,
    Proof,
    Purpose,
    begin_proof,
    changes,
    fail_proof,
    pass_proof,
    stack,
)
from roles.records import Hypothesis
from trainer.evidence.certify import Certification, half
from trainer.evidence.prune import Support, doubtful
from trainer.patch import Patch, PatchError, apply_patch


def only_remove(stacked: list[Change]) -> bool:
    """Whether changes all remove lines: then it is a win if what they make is no worse."""
    return all(change.lines_added < 0 for change in stacked)


def begin_certification(
    lab: Lab,
    purpose: Purpose,
    why: str,
    source_sha: str,
    size: int,
    seeds: list[int],
    incumbent: Incumbent,
    pruned: list[int] | None = None,
) -> Proof:
    """Open one, with the noise as it is known now."""
    run = run_spread(lab.notebook, lab.setting.profile)
    pair = pair_spread(lab.notebook, lab.setting.profile)
    return begin_proof(
        lab.notebook,
        Begun(
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
        ),
    )


# --- one of the stack, or of half of it ---------------------------------------------------------


def cut(lab: Lab, proof: Proof, step: Certification) -> Proof | None:
    """The first half is tried, once; else all that is on the stack goes."""
    is_last = proof.is_half or lab.hours_are_over()
    size = 0 if is_last else half(proof.size, [proof.size])
    with lab.moving, lab.notebook.transaction():
        stacked = stack(lab.notebook)
        fail_proof(lab.notebook, proof, step, dropped=[] if size else stacked)
        if not size:
            return None
        purpose: Purpose = "simpler half" if only_remove(stacked[:size]) else "half"
        head, why = stacked[size - 1].source_sha, "the stack failed"
        return begin_certification(lab, purpose, why, head, size, proof.seeds, lab.incumbent())


def promote(lab: Lab, proof: Proof, step: Certification) -> Proof | None:
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
    trials = lab.notebook.certification_trials(proof.source_sha, proof.seeds)
    seeds = sorted(trial.seed for trial in trials)
    audit = lab.notebook.audit_gain(proof.source_sha, proof.incumbent_sha, seeds)
    said = "" if audit is None else f"; on the audit text {signed(audit)}"
    told = claimed(lab.notebook, proof.number, proof.purpose, step)
    effect = told.effect.text if told.effect else ""
    rule = f" ({step.reason})" if proof.asks_no_worse else ""
    return (
        f"Certificate {proof.number}: {effect} for {proof.in_words}{rule}, "
        f"seeds {', '.join(map(str, seeds))}{said}"
    )


# --- one without what looks needless ------------------------------------------------------------


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
    return begin_certification(
        lab,
        "pruned",
        f"without {len(needless)} that do little",
        source_sha,
        size,
        proof.seeds,
        lab.incumbent(),
        sorted(needless),
    )


def end_pruning(lab: Lab, proof: Proof) -> Certification:
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
