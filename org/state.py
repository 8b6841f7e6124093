"""What travels along the edges of the chart: ids, short texts and frozen records; never history."""

from __future__ import annotations

from typing import TypedDict

from roles.records import Advice, Direction, Hypothesis, Verdict
from trainer.patch import Patch


class ExperimentState(TypedDict, total=False):
    """The state of one experiment, which is one LangGraph thread.

    ``outcome`` is what the last node came to: the label of the edge to follow. ``hypotheses``
    counts what was proposed, ``attempts`` the patches written for the present hypothesis; they
    name the messages of each step, so that a node that runs again finds what it already did.
    ``revisions`` are those of these patches that were written after an objection.
    ``head_sha`` is the source that the patch is written against, ``candidate_sha`` the patched one;
    ``incumbent`` is the number of the incumbent that the head stands on.
    ``back_sha`` is there where the direction goes back: the earlier version that the patch is
    written on; what comes of it is measured against the head like any other.
    ``previous`` and ``complaint`` are the engineer's last words and why they did not do; ``log``
    is the end of a crashed trial's output. ``failure`` is set when the experiment is given up.
    """

    experiment: str
    outcome: str
    program_sha: str
    head_sha: str
    incumbent: int
    back_sha: str
    direction: Direction
    hypothesis: Hypothesis
    hypotheses: int
    objections: tuple[str, ...]
    attempts: int
    revisions: int
    previous: str
    complaint: str
    log: str
    patch: Patch
    candidate_sha: str
    failure: Verdict
    advice: tuple[Advice, ...]
