"""What certifications claim: each its effect without its luck, and all of them the proven gain.

Whoever tells of a certification tells the claim: terminal, commit, verdict, notebook. What was
measured stays on record beside it (``effect_json``), and is what verdicts rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot

from org.notebook import Notebook
from trainer.evidence.certify import Judgement
from trainer.evidence.effect import Effect, tempered

# Purposes of a certification of what is simpler, and has to be no worse; others have to be better.
NO_WORSE = ("simpler", "simpler half", "pruned")

EFFECTS = 500  # of certifications, the latest, that say how much of one was luck

ENDED = """
    select number, purpose, says, effect_json from certifications
    where says is not null and effect_json is not null order by number"""
PROMOTED = """
    select c.number, c.purpose from incumbents i
    join certifications c on c.number = i.certification order by i.number"""


def claims(notebook: Notebook) -> dict[int, Effect]:
    """What each certification that has ended claims, by its number.

    One that passed, its effect without the luck of having passed, as far as that was known on its
    day. One that failed, or that had to be no worse alone, was chosen for no luck.
    """
    known: list[Effect] = []
    told = {}
    for row in notebook.rows(ENDED):
        effect = Effect.model_validate_json(row["effect_json"])
        if row["purpose"] not in NO_WORSE:
            known.append(effect)
            if row["says"] == "pass":
                effect = tempered(effect, known[-EFFECTS:])
        told[row["number"]] = effect
    return told


def claimed(notebook: Notebook, number: int, purpose: str, judgement: Judgement) -> Judgement:
    """What one that ends now says, with what it claims in the place of what was measured."""
    if judgement.effect is None or judgement.says != "pass" or purpose in NO_WORSE:
        return judgement
    known = [
        Effect.model_validate_json(row["effect_json"])
        for row in notebook.rows(ENDED)
        if row["purpose"] not in NO_WORSE and row["number"] < number
    ]
    effect = tempered(judgement.effect, [*known, judgement.effect][-EFFECTS:])
    return judgement.model_copy(update={"effect": effect})


def proven_gain(notebook: Notebook, told: Mapping[int, Effect]) -> Effect | None:
    """What all that made incumbents claims together: the last against the first; None before any.

    ``told`` is what `claims` says.

    Each certification measured both of its sides next to each other, so what the machine did
    between two of them is not in the sum; runs of the first and the last are hours apart. The
    errors add in squares, as if all runs were others: a pruning shares some with the certification
    before it, which makes the error too large rather than too small. The noise behind them is the
    same for all, and is known no better for being used more than once. Runs that two share count
    once among the seeds.
    """
    promoted = notebook.rows(PROMOTED)
    if not promoted:
        return None
    effects = [told[row["number"]] for row in promoted]
    return Effect(
        bpb=sum(each.bpb for each in effects),
        error=hypot(*(each.error for each in effects)),
        freedom=min(each.freedom for each in effects),
        seeds=sum(told[row["number"]].seeds for row in promoted if row["purpose"] != "pruned"),
        kind="certified",
    )
