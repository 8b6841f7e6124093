"""Does a long run stay as small as it was? Memory, open files, threads and processes, every so often.

Real are the organization, its processes, and the way to a model, which is a local server in a
process of its own; the train.py has a few lines.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from benchmarks.table import markdown
from benchmarks.throughput import SAID
from org.config_reading import load_config
from org.desk import run
from org.notebook import Experiment
from org.onlooker import Nobody
from org.opening import open_lab
from tests.openai_server import Body, OpenAIServer, Turn, asked_for
from tests.organizations import Organization, tiny_setting_on
from tests.sources import SCRIPTED
from trainer.evidence.stack import Value

ROWS = 10
# What an experiment may leave behind in memory, from the first tenth on; a leak of a trial's record,
# a reply or a thread is more than that.
MOST_KIB_EACH = 64.0
COLUMNS = (
    *("experiments", "trials", "memory in MiB", "open files", "threads", "children"),
    *("notebook in MiB", "checkpoints in MiB", "s an experiment"),
)


@dataclass
class Model:
    """Answers by a rule; every idea is another gain, ever worse, and one in so many is approved."""

    tried_every: int
    patches: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    screenings: itertools.count[int] = field(default_factory=lambda: itertools.count())

    def answer(self, body: Body) -> Turn:
        wanted = asked_for(body)
        if wanted == "Screening":
            approved = next(self.screenings) % self.tried_every == 0
            return Turn(json.dumps({"approved": approved, "reason": "As the soak wants it."}))
        if wanted in SAID:
            return Turn(json.dumps(SAID[wanted]))
        gain = f"GAIN = -{next(self.patches) / 1000}"
        return Turn(
            f"SUMMARY: {gain}\n<<<<<<< SEARCH\nGAIN = 0.0\n=======\n{gain}\n>>>>>>> REPLACE\n"
        )


@dataclass(frozen=True)
class Size:
    """What the organization's process had at one moment; children are processes, the dead too."""

    experiments: int
    memory_mb: float
    files: int
    threads: int
    children: int
    at: float

    @classmethod
    def now(cls, experiments: int) -> Size:
        process = psutil.Process()
        with process.oneshot():
            memory_mb = process.memory_info().rss / 2**20
            files, threads = process.num_fds(), process.num_threads()
        children = len(process.children(recursive=True))
        return cls(experiments, memory_mb, files, threads, children, time.monotonic())


class Scales(Nobody):
    """Weighs the organization whenever an experiment is closed."""

    def __init__(self, lab: Path, every: int) -> None:
        self.lab, self.every = lab, every
        self.sizes: list[Size] = []
        self.rows: list[tuple[str, ...]] = []

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.sizes.append(Size.now(len(self.sizes) + 1))
        if len(self.sizes) % self.every == 0:
            self.rows.append(self._row())
            click.echo("  ".join(self.rows[-1]), err=True)

    def _row(self) -> tuple[str, ...]:
        """The last stretch: the memory at its end, of all else the least, for a desk may be at it."""
        stretch, last = self.sizes[-self.every :], self.sizes[-1]
        began = self.sizes[-self.every - 1].at if len(self.sizes) > self.every else stretch[0].at
        trials = len(list(self.lab.glob("trials/*/trial.json")))
        sizes = (_mb(self.lab, "notebook.sqlite"), _mb(self.lab, "checkpoints.sqlite"))
        return (
            *(str(last.experiments), str(trials), f"{last.memory_mb:.1f}"),
            str(min(each.files for each in stretch)),
            str(min(each.threads for each in stretch)),
            str(min(each.children for each in stretch)),
            *(f"{size:.1f}" for size in sizes),
            f"{(last.at - began) / self.every:.3f}",
        )


def _mb(lab: Path, name: str) -> float:
    return sum(path.stat().st_size for path in lab.glob(f"{name}*")) / 2**20


@contextmanager
def served(model: Model) -> Iterator[str]:
    """The model behind a server in a process of its own, whose memory is not ours; its URL."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with OpenAIServer(model.answer) as server:
            os.write(writing, server.url.encode())
            signal.pause()
        os._exit(0)
    try:
        yield os.read(reading, 1000).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def organization_at(url: str, folder: Path, experiments: int) -> Organization:
    """An organization of language models, with a desk that thinks while another trains."""
    setting = tiny_setting_on(folder / "texts")
    return Organization(
        folder / "organization",
        setting,
        source=SCRIPTED,
        model={"name": "openai:soak", "base_url": url, "price": [0, 0]},
        experiments=experiments,
        attempts=1,
        more={"desks": 2},
    )


@click.command()
@click.option("--experiments", type=click.IntRange(ROWS), default=1000, show_default=True)
@click.option(
    "--tried-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="One in so many costs a trial; the others are turned down by the reviewer.",
)
def main(experiments: int, tried_every: int) -> None:
    """Run so many experiments and see what grows; exit code 1 where what should not does."""
    with (
        tempfile.TemporaryDirectory() as name,
        served(Model(tried_every)) as url,
    ):
        organization = organization_at(url, Path(name), experiments)
        organization.write()
        scales = Scales(organization.lab, experiments // ROWS)
        config = load_config(organization.config_path)
        with open_lab(config, organization.lab, scales) as lab:
            for reason in run(lab):
                click.echo(reason, err=True)
        faults = organization.faults()
    click.echo(markdown([COLUMNS, *scales.rows]))
    sizes = scales.sizes
    early, late = sizes[len(sizes) // ROWS : len(sizes) // 2], sizes[len(sizes) // 2 :]
    grown_mb = sizes[-1].memory_mb - sizes[len(sizes) // ROWS].memory_mb
    grown_kib_each = 1024 * grown_mb / (len(sizes) - len(sizes) // ROWS)
    click.echo(
        f"{len(sizes)} experiments; from the first tenth on memory grew by {grown_mb:.1f} MiB,"
        f" {grown_kib_each:.1f} KiB an experiment"
    )
    if grown_kib_each > MOST_KIB_EACH:
        faults.append(f"memory grew by more than {MOST_KIB_EACH:g} KiB an experiment")
    for what in ("files", "threads", "children"):
        before, after = (min(getattr(size, what) for size in half) for half in (early, late))
        if after > before:
            faults.append(f"{what} grew from {before} to {after}")
    for fault in faults or [
        "memory, files, threads and children stayed small; the lab holds together"
    ]:
        click.echo(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
