"""A notebook of many experiments, written in bulk: rows as the lab writes them, in the ratio in which it does.

For every experiment a candidate and its trial, what five roles said of it, and its spans; every
twentieth complains once; every fifty a certification under five seeds, of which ever fewer pass.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import isqrt
from typing import Any

from org.lab import Lab
from org.notebook import Experiment, Incumbent, Message, Notebook, Row, Span
from org.schema import TABLES
from org.stack import Certification, Change
from roles.records import Decision, Direction, Hypothesis, Prose, Record, Review, Screening
from trainer.corpus import kjv_chapters
from trainer.evidence.effect import Effect
from trainer.patch import Edit, Patch
from trainer.source import source_sha
from trainer.trial import Trial

EVERY = 50  # experiments between two certifications
SEEDS = 5  # of each, for either side
TOGETHER = 1000  # experiments that are written in one transaction
SECONDS = 60.0  # from one experiment to the next

OLD = "QK_SCALE = 1.2 "
SPOKE = (
    *(("direct", "director"), ("hypothesize.1", "thinker"), ("engineer.1.1", "engineer")),
    *(("screen.1.1", "reviewer"), ("review", "reviewer")),
)
PARTS = ("waited", "smoke-tested", "started up", "trained", "scored")


def patched(source: str, number: int) -> str:
    """The source with the one constant that is ever changed, another for each number."""
    return source.replace(OLD, f"QK_SCALE = {1 + number / 10**7:.7f} ")


@dataclass
class Writer:
    """Writes experiments into a lab whose baseline is measured."""

    lab: Lab
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    words: str = field(default_factory=lambda: " ".join(islice(kjv_chapters(), 200)))
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stacked: list[Change] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.notebook: Notebook = self.lab.notebook
        self.run = self.lab.run.id
        self.source = self.notebook.source(self.lab.run.baseline_sha)
        self.incumbent = self.lab.incumbent()
        self.program = self.lab.read_program()
        self.trial = Trial(
            source_sha="",
            seed=1,
            device="cpu:0",
            outcome="completed",
            val_bpb=1.25,
            audit_bpb=1.26,
            wall="bubblewrap",
            budget_seconds=20.0,
            training_seconds=20.0,
            total_seconds=24.0,
            peak_memory_mb=600.0,
            steps=400,
            tokens=800_000,
            parameters=490_000,
            tokens_per_second=40_000.0,
            loss_curve=tuple((step / 50, 5.0 - step / 20) for step in range(50)),
            log_tail="step 400: loss 2.5, 40,000 tokens a second\n" * 10,
            pins=dict.fromkeys(("corpus", "tokenizer", "scorer.py", "prepare.py"), "0" * 64),
        )

    def fill(self, count: int) -> None:
        """Write the experiments of the numbers 1 to ``count``."""
        began = time.time() - count * SECONDS
        for number in range(1, count + 1):
            self.experiment(number, began + number * SECONDS)
            if number % EVERY == 0:
                self.certification(number // EVERY, began + number * SECONDS)
            if number % TOGETHER == 0 or number == count:
                self.write()
        self.notebook.set_worked_seconds(self.run, count * SECONDS, count * SECONDS)

    def write(self) -> None:
        """Write what has come together, in one transaction."""
        with self.notebook.transaction() as db:
            for table, rows in self.rows.items():
                names = list(rows[0])
                values = ", ".join(f":{name}" for name in names)
                sql = f"insert into {table} ({', '.join(names)}) values ({values})"
                db.conn.executemany(sql, rows)
        self.rows.clear()

    def put(self, table: str, row: Row, **more: object) -> None:
        self.rows.setdefault(table, []).append({**row.model_dump(), **more})

    def say(self, characters: int) -> str:
        """Some words, of about so many characters."""
        begin = self.draw.randrange(len(self.words) - characters)
        return self.words[begin : begin + characters].partition(" ")[2]

    # --- an experiment ----------------------------------------------------------------------

    def experiment(self, number: int, now: float) -> None:
        decision, effect = self.outcome(number)
        text = patched(self.source, number)
        candidate_sha, head_sha = source_sha(text), self.head_sha
        self.rows.setdefault("sources", []).append({"sha": candidate_sha, "text": text})
        direction, hypothesis, *_ = said = list(self.said(number))
        assert isinstance(hypothesis, Hypothesis)
        experiment = Experiment(
            id=f"{self.run}-{number:04d}",
            number=number,
            run=self.run,
            desk="desk 1",
            program_sha=self.program,
            head_sha=head_sha,
            candidate_sha=candidate_sha,
            category=hypothesis.category,
            title=hypothesis.title,
            change=hypothesis.change,
            summary=f"QK_SCALE number {number}",
            direction_json=direction.model_dump_json(),
            hypothesis_json=hypothesis.model_dump_json(),
            patch_json=Patch(
                edits=(Edit(search=OLD, replace=f"QK_SCALE = {number}"),), summary="QK_SCALE"
            ).model_dump_json(),
            decision=decision,
            seed=1,
            effect=effect,
            error=None if effect is None else 0.004,
            reason=self.say(150),
            lesson=self.say(150),
            started=now - SECONDS,
            ended=now,
        )
        normalized = hashlib.sha256(f"program {number}".encode()).hexdigest()
        self.put("experiments", experiment, normalized_sha=normalized)
        self.measured(experiment.id, "candidate", candidate_sha, 1, 1.25 + (effect or 0.0), now)
        for (step, speaker), reply in zip(SPOKE, said, strict=True):
            self.spoke(experiment.id, step, speaker, reply, now)
        if decision == "provisional":
            self.stacked.append(
                Change(
                    number=next(self.numbers),
                    run=self.run,
                    experiment=experiment.id,
                    head_sha=head_sha,
                    source_sha=candidate_sha,
                    effect_bpb=effect or 0.0,
                    error_bpb=0.004,
                    expected_bpb=(effect or 0.0) / 4,
                    lines_added=0,
                    since=now,
                )
            )
            self.put("stack", self.stacked[-1])

    @property
    def head_sha(self) -> str:
        return self.stacked[-1].source_sha if self.stacked else self.incumbent.source_sha

    def outcome(self, number: int) -> tuple[Decision, float | None]:
        """One in seven goes on the stack, one in seven crashes."""
        match number % 7:
            case 3:
                return "provisional", -abs(self.draw.gauss(0.003, 0.003))
            case 5:
                return "crash", None
            case _:
                return "discard", abs(self.draw.gauss(0.01, 0.01))

    def said(self, number: int) -> Iterator[Record]:
        yield Direction(
            category="attention",
            focus=self.say(200),
            assignee="thinker",
            reason=self.say(300),
        )
        yield Hypothesis(
            title=f"Scale queries by {number} millionths more",
            category=("attention", "optimizer", "schedule")[number % 3],
            change=self.say(200),
            mechanism=self.say(400),
            expected_effect=-0.002,
        )
        new = f"QK_SCALE = {1 + number / 10**7:.7f} "
        yield Prose(text=f"<<<<<<< SEARCH\n{OLD}\n=======\n{new}\n>>>>>>> REPLACE\n")
        yield Screening(approved=True, reason=self.say(200))
        yield Review(explanation=self.say(300), lesson=self.say(150))

    def spoke(self, experiment: str, step: str, speaker: str, reply: Record, now: float) -> None:
        message = Message(
            id=f"{experiment}/{step}/{speaker}",
            run=self.run,
            experiment=experiment,
            time=now,
            speaker=speaker,
            listener="everyone",
            kind=step.partition(".")[0],
            text=" ".join(str(value) for value in reply.model_dump().values()),
            reply_json=reply.model_dump_json(),
            model="stand-in",
            brief_sha="0" * 64,
            prompt_tokens=9000,
            reply_tokens=200,
            seconds=5.0,
            dollars=0.01,
            most_dollars=0.02,
            counted=False,
        )
        self.put("messages", message)
        self.took(message.id, experiment, "reviewed" if step == "review" else "thought", None, now)

    def measured(
        self, name: str, purpose: str, sha: str, seed: int, score: float, now: float
    ) -> None:
        trial = self.trial.model_copy(
            update={"source_sha": sha, "seed": seed, "val_bpb": score, "audit_bpb": score + 0.01}
        )
        experiment = name if purpose == "candidate" else None
        row = trial.model_dump(include=set(TABLES["trials"][0])) | {
            "id": f"{name}-{sha[:12]}-{seed}",
            "run": self.run,
            "experiment": experiment,
            "purpose": purpose,
            "ended": now,
            "trial_json": trial.model_dump_json(),
        }
        self.rows.setdefault("trials", []).append(row)
        for part in PARTS if experiment else PARTS[2:]:
            self.took(f"{row['id']}/{part}", experiment, part, "cpu:0", now)

    def took(
        self, span_id: str, experiment: str | None, kind: Any, device: str | None, at: float
    ) -> None:
        span = Span(
            id=span_id,
            run=self.run,
            experiment=experiment,
            kind=kind,
            device=device,
            started=at,
            seconds=5.0,
        )
        self.put("spans", span)

    # --- a certification --------------------------------------------------------------------

    def certification(self, number: int, now: float) -> None:
        """Both sides under fresh seeds; the square numbers pass, so that gains become rarer."""
        self.write()
        passes, own = isqrt(number) ** 2 == number, self.stacked
        standing, gain = ("keep", -0.003) if passes else ("dropped", 0.0)
        seeds = range(1000 + 10 * number, 1000 + 10 * number + SEEDS)
        for sha, value in ((own[-1].source_sha, 1.25 + gain), (self.incumbent.source_sha, 1.25)):
            for seed in seeds:
                score = self.draw.gauss(value, 0.004)
                self.measured("certify", "certify", sha, seed, score, now)
        effect = Effect(bpb=gain, error=0.002, freedom=20.0, seeds=SEEDS, kind="certified")
        certification = Certification(
            number=number,
            run=self.run,
            purpose="stack",
            why="size",
            incumbent=self.incumbent.number,
            incumbent_sha=self.incumbent.source_sha,
            source_sha=own[-1].source_sha,
            size=len(own),
            seeds_json=str(list(seeds)),
            run_bpb=0.004,
            run_freedom=20.0,
            pair_bpb=0.005,
            pair_freedom=20.0,
            started=now,
            ended=now,
            says="pass" if passes else "fail",
            reason="all seeds were run",
            effect_json=effect.model_dump_json(),
        )
        self.put("certifications", certification)
        if passes:
            source = self.notebook.source(own[-1].source_sha)
            self.incumbent = Incumbent(
                number=self.incumbent.number + 1,
                source_sha=own[-1].source_sha,
                experiment=own[-1].experiment,
                commit_sha=self.lab.lineage.write(
                    source,
                    f"Certificate {number}",
                    experiment_id=own[-1].experiment,
                    parent=self.incumbent.commit_sha,
                ),
                certification=number,
                val_bpb=self.incumbent.val_bpb + gain / 10,
                since=now,
            )
            self.put("incumbents", self.incumbent, run=self.run)
        self.stacked = []
        self.write()
        with self.notebook.transaction() as db:
            for change in own:
                columns = {"standing": standing, "certification": number}
                db.table("stack").update(change.number, columns)
                db.table("experiments").update(change.experiment, {"decision": standing})


def fill(lab: Lab, count: int) -> None:
    """Write the experiments of the numbers 1 to ``count`` into a lab that has its baseline alone."""
    Writer(lab).fill(count)
