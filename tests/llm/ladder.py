"""Every kind of reply, asked of a real model by every way of asking: fitting or clearly not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from roles.chat import LADDER, ChatModel
from roles.model import Brief, Cost, ModelError
from roles.records import (
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Person,
    Prose,
    Reads,
    Record,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
)
from tests.llm.relay import Relay

LONGEST_TOKENS = 120
DIGEST = Digest(program="Lower val_bpb.", baseline_bpb=2.0, incumbent_bpb=1.9, noise_bpb=0.01)
DIRECTION = Direction(category="schedule", focus="warm-up", assignee="optimizer", reason="untried")
HYPOTHESIS = Hypothesis(
    title="Warm up for longer",
    category="schedule",
    change="Raise WARMUP from 0.0 to 0.1.",
    mechanism="Early steps at the full rate are wasted.",
    expected_effect=-0.005,
)
SOURCE = "WARMUP = 0.0\nRATE = 0.04\n"
DIFF = "-WARMUP = 0.0\n+WARMUP = 0.1\n"

ASKED: tuple[tuple[str, Reads, type[Record]], ...] = (
    ("director", DirectorReads(digest=DIGEST, people=(Person(name="optimizer"),)), Direction),
    ("optimizer", HypothesisReads(digest=DIGEST, direction=DIRECTION, source=SOURCE), Hypothesis),
    ("engineer", EngineerReads(hypothesis=HYPOTHESIS, source=SOURCE), Prose),
    ("reviewer", ScreeningReads(digest=DIGEST, hypothesis=HYPOTHESIS, diff=DIFF), Screening),
    (
        "reviewer",
        ReviewReads(hypothesis=HYPOTHESIS, diff=DIFF, decision="discard", evidence="no gain"),
        Review,
    ),
)


def climb(relay: Relay) -> Iterator[str]:
    """Ask for everything in every way, say how it went, and give what is amiss."""
    costs: list[Cost | None] = []
    for way in LADDER:
        went: Counter[str] = Counter()
        model = ChatModel(
            "smollm2", base_url=relay.url, temperature=1.2, max_tokens=LONGEST_TOKENS, price=(1, 2)
        )
        for role, reads, reply_type in ASKED:
            model.found.way = way
            brief = Brief(role=role, prompt=f"You are the {role}. Be brief.", reads=reads)
            try:
                answer = model.ask(brief, reply_type)
                costs.append(answer)
                went[f"{reply_type.__name__} fits"] += 1
            except ModelError as error:
                costs.append(error.cost)
                went[f"{reply_type.__name__} does not"] += 1
        print(f"  {way:<12} {', '.join(went)}")
    known = [cost for cost in costs if cost]
    used = tuple(sum(each) for each in zip(*(_tokens(cost) for cost in known), strict=True))
    if len(known) < len(costs) or used != relay.used():
        yield f"tokens {used} were said to be used, {relay.used()} were"


def _tokens(cost: Cost) -> tuple[int, int]:
    return cost.prompt_tokens or 0, cost.reply_tokens or 0
