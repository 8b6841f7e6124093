"""What follows from a certification: what is kept, what is cut, and which other one begins.

A certification is closed and what follows from it begun in one transaction: a kill comes before or after.
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
    Certification,
    Change,
    Purpose,
    changes,
    fail_certification,
    pass_certification,
    record_begun,
    stack,
)
from roles.records import Hypothesis
from trainer.evidence.certify import Judgement, half
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
) -> Certification:
    """Open one, with the noise as it is known now."""
    run = run_spread(lab.notebook, lab.setting.profile)
    pair = pair_spread(lab.notebook, lab.setting.profile)
    return record_begun(
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


def cut(lab: Lab, certification: Certification, judgement: Judgement) -> Certification | None:
    """The first half is tried, once; else all that is on the stack goes."""
    is_last = certification.is_half or lab.hours_are_over()
    size = 0 if is_last else half(certification.size, [certification.size])
    with lab.moving, lab.notebook.transaction():
        stacked = stack(lab.notebook)
        fail_certification(lab.notebook, certification, judgement, dropped=[] if size else stacked)
        if not size:
            return None
        purpose: Purpose = "simpler half" if only_remove(stacked[:size]) else "half"
        head, why = stacked[size - 1].source_sha, "the stack failed"
        return begin_certification(
            lab, purpose, why, head, size, certification.seeds, lab.incumbent()
        )


def promote(lab: Lab, certification: Certification, judgement: Judgement) -> Certification | None:
    """The source is the incumbent; then what looks needless in it is tried to do without."""
    with lab.moving:
        stacked, before = stack(lab.notebook), lab.incumbent()
        kept, above = stacked[: certification.size], stacked[certification.size :]
        certificate = _certificate(lab, certification, judgement)
        commits, parent = [], before.commit_sha
        for change in kept:
            parent = _commit(lab, change, certificate, parent)
            commits.append((change, parent))
        incumbent = _incumbent(lab, before, certification, kept[-1].experiment, parent)
        # What came on top of a stack that passed as a whole stays; after a half, it fell with it.
        dropped = above if certification.is_half else []
        with lab.notebook.transaction():
            pass_certification(lab.notebook, certification, judgement, incumbent, commits, dropped)
            following = _begin_pruning(lab, certification, kept, before)
        lab.publish(incumbent)
    return following


def _incumbent(
    lab: Lab,
    before: Incumbent,
    certification: Certification,
    experiment: str | None,
    commit_sha: str,
) -> Incumbent:
    """What passed, judged by its fresh runs alone: the ones that it was chosen by are left behind."""
    return Incumbent(
        number=before.number + 1,
        source_sha=certification.source_sha,
        experiment=experiment,
        commit_sha=commit_sha,
        certification=certification.number,
        val_bpb=fmean(bpb for _, bpb in lab.notebook.fresh_runs(certification.source_sha)),
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


def _certificate(lab: Lab, certification: Certification, judgement: Judgement) -> str:
    """What was proven, of how many changes, under which seeds, and what the audit text says."""
    trials = lab.notebook.certification_trials(certification.source_sha, certification.seeds)
    seeds = sorted(trial.seed for trial in trials)
    audit = lab.notebook.audit_gain(certification.source_sha, certification.incumbent_sha, seeds)
    said = "" if audit is None else f"; on the audit text {signed(audit)}"
    told = claimed(lab.notebook, certification.number, certification.purpose, judgement)
    effect = told.effect.text if told.effect else ""
    rule = f" ({judgement.reason})" if certification.asks_no_worse else ""
    return (
        f"Certificate {certification.number}: {effect} for {certification.in_words}{rule}, "
        f"seeds {', '.join(map(str, seeds))}{said}"
    )


# --- one without what looks needless ------------------------------------------------------------


def _begin_pruning(
    lab: Lab, certification: Certification, kept: list[Change], before: Incumbent
) -> Certification | None:
    """A certification of the new incumbent without the changes that seem to do little, where that applies."""
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
        certification.seeds,
        lab.incumbent(),
        sorted(needless),
    )


def end_pruning(lab: Lab, certification: Certification) -> Judgement:
    """What is not needed goes, by a commit of its own; what was said of it in the end."""
    with lab.moving:  # and nobody comes on top any more
        judgement = judged(lab.notebook, certification)
        if judgement.says == "fail":
            fail_certification(lab.notebook, certification, judgement, dropped=[])
            return judgement
        before = lab.incumbent()
        gone = changes(lab.notebook, certification.pruned)
        titles = ", ".join(
            lab.notebook.experiment(change.experiment).title or "" for change in gone
        )
        commit_sha = lab.lineage.write(
            lab.notebook.source(certification.source_sha),
            f"Without {titles}\n\nSimpler, and no worse by more than the margin.\n"
            f"{_certificate(lab, certification, judgement)}",
            experiment_id=f"pruning-{certification.number}",
            parent=before.commit_sha,
        )
        incumbent = _incumbent(lab, before, certification, None, commit_sha)
        pass_certification(lab.notebook, certification, judgement, incumbent, [], gone)
        lab.publish(incumbent)
        return judgement
