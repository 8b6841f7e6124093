"""What a certification says, from its runs alone.

Knows nothing that measures: so it can be asked again, of any moment of the past.
"""

from __future__ import annotations

from math import inf

from org.notebook import Notebook
from org.stack import Proof, stack
from trainer.evidence.certify import Certification, certify
from trainer.evidence.effect import Scored
from trainer.evidence.prune import prune, simplify
from trainer.evidence.seeds import ignores_seed

# Of a pruning that can no longer be adopted: it would take the ground from under what came on top.
OVERTAKEN = Certification(says="fail", reason="others came on top meanwhile")

# What has to be no worse; anything else has to be better.
RULES = {"pruned": prune, "simpler": simplify, "simpler half": simplify}


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


def _runs(notebook: Notebook, source_sha: str, seeds: list[int]) -> list[Scored]:
    return [
        (trial.seed, inf if trial.val_bpb is None else trial.val_bpb)
        for trial in notebook.certification_trials(source_sha, seeds)
    ]
