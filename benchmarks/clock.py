"""How many steps of train.py a budget buys by several clocks, as the machine's other load changes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from trainer.dataset import Dataset, build_dataset
from trainer.pace import HUGE_PAGES, give_precedence
from trainer.sandbox import trial_environment
from trainer.setting import PROFILES, default_cache

SAMPLE_SECONDS = 0.1  # between two looks at how fast the reference work is
MOST_SECONDS = 600  # after which a program that is only there to be in the way ends

# Arithmetic that stays in a core's own cache, and copying that empties everybody's.
LOADS = {
    "matmul": "a = np.ones((384, 384), 'f4'); work = lambda: a @ a",
    "memory": "a = np.ones(8 << 20); b = a.copy(); work = lambda: np.copyto(a, b)",
}
BUSY = """\
import time, numpy as np
{work}
while time.process_time() < {seconds}: work()
"""
TERMS = ("as it comes", "huge pages", "huge pages, precedence")


class Recording(BaseModel):
    """One training run: what a step cost by each clock, in seconds; ``precedence`` as it was given.

    ``wall`` and ``processor`` are means. ``weighted`` is the mean in processor seconds times
    (quick reference work / reference work meanwhile). ``quantile`` is the 10 % quantile of the
    processor seconds of a step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: str
    load: str
    precedence: str
    wall: float
    processor: float
    weighted: float
    quantile: float


CLOCKS = {
    "wall": "wall time",
    "processor": "processor time",
    "weighted": "weighted by reference work",
    "quantile": "10 % quantile of step time",
}


class Reference:
    """A small fixed piece of work of about 1 ms: a product and a pass over memory."""

    def __init__(self) -> None:
        self._square = np.ones((256, 256), "f4")
        self._row = np.ones(1 << 19, "f4")
        self._out = np.empty_like(self._row)

    def seconds(self) -> float:
        """Processor seconds of this thread that the work takes now."""
        began_at = time.thread_time()
        for _ in range(3):
            self._square @ self._square
        np.multiply(self._row, 1.001, out=self._out)
        np.add(self._out, self._row, out=self._out)
        return time.thread_time() - began_at


@contextmanager
def busy(load: str, programs: int) -> Iterator[None]:
    """So many programs in the way, for as long as the block lasts."""
    work = LOADS.get(load)
    code = BUSY.format(work=work, seconds=MOST_SECONDS)
    started = [
        subprocess.Popen([sys.executable, "-c", code]) for _ in range(programs if work else 0)
    ]
    try:
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()


def record(
    dataset: Dataset, terms: str, seconds: float, folder: Path
) -> tuple[NDArray[np.float64], list[float], str]:
    """Times of steps (steps + 1, 2), reference seconds meanwhile, and the precedence given."""
    described, out = folder / "dataset.json", folder / "steps.npy"
    described.write_text(dataset.model_dump_json())
    environment = trial_environment(folder, "cpu:0", PROFILES["cpu"].threads)
    environment.pop("GLIBC_TUNABLES", None)
    if "huge pages" in terms:
        environment |= HUGE_PAGES
    command = [sys.executable, "-m", "benchmarks.steps", str(described), str(out), str(seconds)]
    reference, samples = Reference(), []
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        given = give_precedence(process.pid, 1) if "precedence" in terms else "none"
        process.stdin.write(b"\n")
        process.stdin.close()
        while process.poll() is None:
            samples.append(reference.seconds())
            time.sleep(SAMPLE_SECONDS)
    return np.load(out), samples, given


def recordings(dataset: Dataset, rounds: int, seconds: float, programs: int) -> Iterator[Recording]:
    """All terms under all loads in turn, and again; the first samples of all say what is quick."""
    quick: list[float] = []
    for _ in range(rounds):
        for load in ("none", *LOADS):
            with busy(load, programs):
                for terms in TERMS:
                    with tempfile.TemporaryDirectory() as folder:
                        times, samples, given = record(dataset, terms, seconds, Path(folder))
                    quick = quick or samples
                    yield _recording(terms, load, given, times, samples, quick)


def _recording(
    terms: str,
    load: str,
    precedence: str,
    times: NDArray[np.float64],
    samples: Sequence[float],
    quick: Sequence[float],
) -> Recording:
    wall, processor = (times[-1] - times[0]) / (len(times) - 1)
    weight = float(np.quantile(quick, 0.1)) / statistics.fmean(samples)
    return Recording(
        terms=terms,
        load=load,
        precedence=precedence,
        wall=wall,
        processor=processor,
        weighted=processor * weight,
        quantile=float(np.quantile(np.diff(times[:, 1]), 0.1)),
    )


def spread_percent(costs: Sequence[float]) -> float | None:
    """Spread of the steps that a budget buys when one costs this much; None of fewer than two."""
    if len(costs) < 2:
        return None
    steps = [1 / cost for cost in costs]
    return 100 * statistics.stdev(steps) / statistics.fmean(steps)


def table(recorded: Sequence[Recording]) -> str:
    """A Markdown table: for each way to run a trial and each load, each clock's spread in %."""
    lines = [["trial", "other load", "runs", "ms per step", *CLOCKS.values()]]
    for terms in dict.fromkeys(one.terms for one in recorded):
        own = [one for one in recorded if one.terms == terms]
        loads = dict.fromkeys(one.load for one in own)
        groups = {load: [one for one in own if one.load == load] for load in loads}
        for load, runs in (groups | {"all": own}).items():
            cost = 1000 * statistics.fmean(one.processor for one in runs)
            spreads = [spread_percent([getattr(one, clock) for one in runs]) for clock in CLOCKS]
            cells = ["" if value is None else f"{value:.1f} %" for value in spreads]
            lines.append([terms, load, str(len(runs)), f"{cost:.1f}", *cells])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command(epilog="Example: python -m benchmarks.clock --rounds 3 --seconds 5")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Budget."
)
@click.option(
    "--programs", type=click.IntRange(1), default=2, show_default=True, help="In the way."
)
def main(rounds: int, seconds: float, programs: int) -> None:
    """Train on a CPU with and without other programs in the way; print each clock's spread."""
    dataset = build_dataset(PROFILES["cpu"], default_cache(), click.echo)
    recorded = []
    for one in recordings(dataset, rounds, seconds, programs):
        click.echo(
            f"{one.load:<7} {one.terms} ({one.precedence}): {1000 * one.processor:.1f} ms of "
            f"processor time per step, {one.processor / one.wall:.0%} of a core"
        )
        recorded.append(one)
    click.echo(f"\n{table(recorded)}")


if __name__ == "__main__":
    main()
