"""What a certification says, from its runs alone.

Knows nothing that measures: so it can be asked again, of any moment of the past.
"""

from __future__ import annotations

from math import inf

from org.notebook import Notebook
from org.stack import Certification, stack
from trainer.evidence.certify import Judgement, certify
from trainer.evidence.effect import Scored
from trainer.evidence.prune import prune, simplify
from trainer.evidence.seeds import ignores_seed

# Of a pruning that can no longer be adopted: it would take the ground from under what came on top.
OVERTAKEN = Judgement(says="fail", reason="others came on top meanwhile")

# What has to be no worse; anything else has to be better.
RULES = {"pruned": prune, "simpler": simplify, "simpler half": simplify}


def judged(notebook: Notebook, certification: Certification) -> Judgement:
    """What a certification says, from the fresh runs of both sides and the noise of its day.

    A pruning has failed as soon as there is anything on top of what it would prune.
    """
    if certification.purpose == "pruned" and stack(notebook):
        return OVERTAKEN
    if ignores_seed(notebook.certification_trials(certification.source_sha, certification.seeds)):
        reason = "two seeds came to the very same val_bpb: it ignores the seed it is given"
        return Judgement(says="fail", reason=reason)
    return RULES.get(certification.purpose, certify)(
        *(
            _runs(notebook, sha, certification.seeds)
            for sha in (certification.source_sha, certification.incumbent_sha)
        ),
        seeds=certification.seeds,
        run=certification.run_spread,
        pair=certification.pair_spread,
    )


def _runs(notebook: Notebook, source_sha: str, seeds: list[int]) -> list[Scored]:
    return [
        (trial.seed, inf if trial.val_bpb is None else trial.val_bpb)
        for trial in notebook.certification_trials(source_sha, seeds)
    ]
