"""`python -m benchmarks.growth`: does thinking stay cheap as the notebook grows? Times and file sizes.

Real are the organization, its graph, notebook, checkpoints and git; the notebook is filled in bulk
(benchmarks/filling.py) before one desk works on top of it. Stand-ins are the model, whose time is
taken off, and the trial and its smoke test, which end at once.
"""

from __future__ import annotations

import hashlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any, get_args
from unittest.mock import patch

import click
import yaml

from benchmarks.filling import fill
from benchmarks.table import markdown
from org import measuring
from org.baseline import measure_baseline
from org.config import Config
from org.config_reading import load_config
from org.desk import run
from org.lab import Lab
from org.notebook import Notebook
from org.onlooker import Nobody
from org.opening import open_lab
from org.running import leave_imports_alone
from roles.model import Answer, Brief, Reply
from roles.records import Category, Direction, Hypothesis, Prose, Review, Screening, WaysOut
from trainer.corpus import kjv_chapters
from trainer.source import source_sha
from trainer.trial import Trial

TRAIN = Path(__file__).parent.parent / "trainer" / "train.py"
CONSTANT = re.compile(r"^QK_SCALE = \S+", re.MULTILINE)

LIMIT_MS, LIMIT_SECONDS = 50, 0.5  # what is asked for: between two trials, and of a command


@dataclass
class Clock:
    """Wall and processor milliseconds so far, those of stand-ins left out."""

    stopped: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def now(self) -> tuple[float, float]:
        wall, processor = time.perf_counter() * 1000, time.process_time() * 1000
        return wall - self.stopped[0], processor - self.stopped[1]

    def leave_out(self, since: tuple[float, float]) -> None:
        for place, (now, then) in enumerate(zip(self.now(), since, strict=True)):
            self.stopped[place] += now - then


@dataclass
class Trials:
    """The device at the far end: every trial ends at once, with a score that its source settles.

    ``passed`` has what each came for, and the clock when it was begun and when it had ended.
    """

    clock: Clock
    passed: list[tuple[str, tuple[float, float]]] = field(default_factory=list)

    def run_trial(self, source: str, *, seed: int, device: str, folder: Path, **_: Any) -> Trial:
        purpose = folder.name.partition("-")[0] if folder.parent.name == "trials" else "smoke"
        if purpose not in ("baseline", "certify", "reference"):
            purpose = "candidate"
        self.passed.append((purpose, self.clock.now()))
        return self._trial(source, seed, device)

    def smoke_test(self, source: str, *, device: str, **_: Any) -> Trial:
        return self._trial(source, 1, device).model_copy(update={"val_bpb": None})

    def _trial(self, source: str, seed: int, device: str) -> Trial:
        luck = int(hashlib.sha256(f"{source}{seed}".encode()).hexdigest()[:8], 16) / 2**32
        score = 1.25 + 0.02 * (luck - 0.3)
        return Trial(
            source_sha=source_sha(source),
            seed=seed,
            device=str(device),
            outcome="completed",
            val_bpb=score,
            audit_bpb=score + 0.01,
            budget_seconds=20.0,
            training_seconds=20.0,
            total_seconds=24.0,
            steps=400,
            tokens=800_000,
        )


@dataclass
class Talker:
    """The model at the far end: says the next thing at once, at a price."""

    clock: Clock
    number: int
    name: str = "stand-in"

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        since = self.clock.now()
        reply = self._reply(brief, reply_type)
        answer = Answer[Reply](
            reply=reply, text="", model=self.name, seconds=5.0, dollars=0.01, most_dollars=0.02
        )
        self.clock.leave_out(since)
        return answer

    def _reply(self, brief: Brief, reply_type: type[Reply]) -> Any:
        words = "What the last results left open, and nothing else. " * 4
        if issubclass(reply_type, Direction):
            said = {"category": "attention", "assignee": "thinker", "focus": words, "reason": words}
            if ways := getattr(brief.reads, "ways_out", None):
                said |= _off(ways)
            return reply_type.model_validate(said)
        if reply_type is Hypothesis:
            return Hypothesis(
                title="Another scale",
                category="attention",
                change=words,
                mechanism=words,
                expected_effect=-0.002,
            )
        if reply_type is Prose:
            self.number += 1
            old = CONSTANT.search(brief.reads.source)[0]  # type: ignore[union-attr, index]
            line = next(each for each in brief.reads.source.split("\n") if old in each)  # type: ignore[union-attr]
            new = line.replace(old, f"QK_SCALE = {2 + self.number / 10**7:.7f}")
            return Prose(
                text=f"SUMMARY: a scale\n<<<<<<< SEARCH\n{line}\n=======\n{new}\n>>>>>>> REPLACE\n"
            )
        if reply_type is Screening:
            return Screening(approved=True, reason=words)
        return Review(explanation=words, lesson=words)


def _off(ways: WaysOut) -> dict[str, Any]:
    """The first way off a plateau that is open."""
    match ways.ways[0]:
        case "change category":
            fresh = next(each for each in get_args(Category) if each not in ways.stale)
            return {"way_out": "change category", "category": fresh}
        case "simplify":
            return {"way_out": "simplify", "category": "simplification"}
        case "combine near misses":
            numbers = ways.near_misses[0].numbers
            return {"way_out": "combine near misses", "builds_on": numbers}
        case way:
            return {"way_out": way, "builds_on": [keep.number for keep in ways.keeps[:1]]}


@dataclass(frozen=True)
class Gaps:
    """What passed between two trials of candidates, in milliseconds of wall and of processor time.

    ``certifying`` is the same around and within certifications, with the commits of what is kept.
    """

    candidates: list[tuple[float, float]]
    certifying: list[tuple[float, float]]

    @classmethod
    def of(cls, trials: Trials) -> Gaps:
        gaps = Gaps([], [])
        for (before, begun), (after, then) in pairwise(trials.passed):
            between = gaps.candidates if before == after == "candidate" else gaps.certifying
            between.append((then[0] - begun[0], then[1] - begun[1]))
        return gaps

    def cells(self) -> list[str]:
        walls, processors = ([gap[place] for gap in self.candidates] for place in (0, 1))
        certifying = [wall for wall, _ in self.certifying]
        return [
            str(len(walls)),
            *(f"{each:.0f}" for each in (median(walls), max(walls))),
            *(f"{each:.0f}" for each in (median(processors), max(processors))),
            f"{median(certifying):.0f}" if certifying else "",
            f"{max(certifying):.0f}" if certifying else "",
        ]


GAP_COLUMNS = (
    *(
        "experiments",
        "gaps",
        "median ms",
        "longest ms",
        "median processor ms",
        "longest processor ms",
    ),
    *("around certifications: median ms", "longest ms"),
)


def write_organization(folder: Path) -> Config:
    """An organization of one desk whose train.py is ours, in a folder of its own."""
    prompt = {"prompt": "prompt.md"}
    fields = {
        "program": "prompt.md",
        "train": str(TRAIN),
        "model": "playbook",
        "roles": {
            **dict.fromkeys(("director", "engineer", "reviewer"), prompt),
            "hypothesis": [{"name": "thinker", **prompt}],
        },
        "desks": 1,
        "devices": ["cpu:0"],
        "sandbox": "none",
        "trial": {
            "profile": "cpu",
            "corpus": "files:texts",
            "vocabulary": 1000,
            "sequence_length": 32,
            "evaluation_tokens": 1024,
        },
        "budget": {"experiments": 1, "dollars": 10**9},
    }
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for number, chapter in enumerate(islice(kjv_chapters(), 200)):
        (folder / "texts" / f"{number}.txt").write_text(chapter)
    (folder / "prompt.md").write_text("Do your part.\n" * 40)
    (folder / "org.yaml").write_text(yaml.safe_dump(fields))
    return load_config(folder / "org.yaml")


def work(folder: Path, size: int, experiments: int) -> Gaps:
    """Fill a lab's notebook, unless it is full already, and let a desk do so many experiments."""
    config, clock = write_organization(folder), Clock()
    trials = Trials(clock)
    with (
        patch.object(measuring, "run_trial", trials.run_trial),
        patch.object(measuring, "smoke_test", trials.smoke_test),
        open_lab(config, folder / "lab", Nobody()) as lab,
    ):
        measure_baseline(lab)
        if not lab.notebook.experiments_count():
            fill(lab, size)
        talker = Talker(clock, lab.notebook.experiments_count())
        trials.passed.clear()
        leave_imports_alone()  # as `python -m org run` does
        run(
            replace(lab, models=dict.fromkeys(lab.models, talker), config=further(lab, experiments))
        )
    return Gaps.of(trials)


def further(lab: Lab, experiments: int) -> Config:
    """The lab's config, with a budget of so many experiments more than there are."""
    own = lab.notebook.rows(
        "select count(*) as n from experiments where run = :run", {"run": lab.run.id}
    )
    budget = lab.config.budget.model_copy(update={"experiments": own[0]["n"] + experiments})
    return lab.config.model_copy(update={"budget": budget})


# --- commands -------------------------------------------------------------------------------------

HELP = "--help"
COMMANDS = (
    *(HELP, "notebook", "status", "replay", "replay 7", "notebook show 7"),
    *("notebook search attention", "notebook search the"),
)


def took(folder: Path, command: str, repeats: int) -> tuple[float, float]:
    """Wall and processor seconds of a command as a process, the median of some."""
    lab = () if command == HELP else ("--lab", str(folder / "lab"))
    first, *rest = command.split()
    place = (first, *lab, *rest)
    seconds = []
    for _ in range(repeats):
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "org", *place], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds.append((time.perf_counter() - wall, processor))
    return median(wall for wall, _ in seconds), median(processor for _, processor in seconds)


def command_cells(folder: Path, repeats: int) -> Iterator[str]:
    """Wall and processor seconds of each command, less those of ``--help``."""
    start = took(folder, HELP, repeats)
    for command in COMMANDS[1:]:
        wall, processor = took(folder, command, repeats)
        yield f"{wall - start[0]:.2f} ({processor - start[1]:.2f})"


def size_cells(folder: Path) -> list[str]:
    """Megabytes of the notebook and the checkpoints, and the notebook's kilobytes for each experiment."""
    notebook, checkpoints = (
        sum(each.stat().st_size for each in (folder / "lab").glob(f"{name}.sqlite*"))
        for name in ("notebook", "checkpoints")
    )
    with closing(Notebook(folder / "lab" / "notebook.sqlite", read_only=True)) as book:
        kilobytes = notebook / book.experiments_count() / 1e3
    return [f"{notebook / 1e6:.1f}", f"{kilobytes:.0f}", f"{checkpoints / 1e6:.2f}"]


@click.command()
@click.option("--sizes", default="10,1000,100000", show_default=True, help="Experiments, before.")
@click.option("--experiments", type=click.IntRange(3), default=40, show_default=True)
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of commands."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep the labs here, for next time."
)
def main(sizes: str, experiments: int, repeats: int, folder: Path | None) -> None:
    """Measure what passes between two trials, and the commands, on notebooks of these sizes."""
    gaps, commands = [list(GAP_COLUMNS)], [["experiments", *COMMANDS[1:]]]
    files = [["experiments", "notebook MB", "kB for each experiment", "checkpoints MB"]]
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for size in map(int, sizes.split(",")):
            own = place.absolute() / str(size)
            gaps.append([f"{size:,}", *work(own, size, experiments).cells()])
            click.echo(str(gaps[-1]), err=True)
            commands.append([f"{size:,}", *command_cells(own, repeats)])
            click.echo(str(commands[-1]), err=True)
            files.append([f"{size:,}", *size_cells(own)])
    click.echo("\n\n".join(map(markdown, (gaps, commands, files))))


if __name__ == "__main__":
    sys.exit(main())
