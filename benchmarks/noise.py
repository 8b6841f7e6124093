"""How much of the noise is the clock's: the baseline over seeds by the clock, and by a count of steps."""

from __future__ import annotations

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import click

from benchmarks.table import markdown
from benchmarks.trainer import TRAIN
from trainer.corpus import CorpusError
from trainer.dataset import Dataset, build_dataset
from trainer.devices import Devices, find_devices
from trainer.locks import shared_folder
from trainer.setting import PROFILES, Setting, default_cache
from trainer.trial import Trial, run_trial

BY_THE_CLOCK = "while (progress := prepare.progress()) < 1:"
AMPLE = 20  # times the budget, where steps are counted: the clock must not matter
TARGET = 1.5


def counted(source: str, steps: int) -> str:
    """The same train.py, which makes so many steps however long that takes.

    Raises:
        ValueError: its loop is not found.
    """
    if source.count(BY_THE_CLOCK) != 1:
        raise ValueError(f"train.py has no line {BY_THE_CLOCK!r}")
    return source.replace(BY_THE_CLOCK, f"while (progress := step / {steps}) < 1:")


def over_seeds(
    source: str, setting: Setting, dataset: Dataset, seeds: int, precedence: bool, name: str
) -> list[Trial]:
    """A trial under each seed, on all devices at once, as a lab runs them."""
    names = find_devices("cpu", setting.threads)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(names)) as pool:
        devices = Devices(names, shared_folder())

        def one(seed: int) -> Trial:
            with devices.lease(threading.Event()) as device:
                trial = run_trial(
                    source,
                    seed=seed,
                    setting=setting,
                    dataset=dataset,
                    device=device,
                    folder=Path(folder, str(seed)),
                    precedence=precedence,
                )
            if trial.val_bpb is None:
                raise click.ClickException(f"seed {seed}: {trial.outcome}: {trial.reason}")
            click.echo(f"{name}, seed {seed}: {trial.val_bpb:.4f}, {trial.steps} steps")
            return trial

        return list(pool.map(one, range(1, seeds + 1)))


def row(name: str, trials: list[Trial]) -> list[str]:
    """What one way of counting came to; a spread is uncertain by one in √(2(n − 1))."""
    scores = [trial.val_bpb for trial in trials if trial.val_bpb is not None]
    steps = [trial.steps for trial in trials]
    spread = stdev(scores)
    return [
        name,
        str(len(scores)),
        f"{fmean(scores):.4f}",
        f"{spread:.4f} ± {spread / sqrt(2 * (len(scores) - 1)):.4f}",
        f"{fmean(steps):.0f} ± {stdev(steps) / fmean(steps):.1%}",
    ]


@click.command(
    epilog="""\b
Examples:
  python -m benchmarks.noise
  python -m benchmarks.noise --seeds 4 --seconds 5
  python -m benchmarks.noise --no-precedence"""
)
@click.option("--seeds", type=click.IntRange(3), default=8, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), help="Budget; by default the profile's.")
@click.option("--precedence/--no-precedence", default=True, help="Trials go before other programs.")
def main(seeds: int, seconds: float | None, precedence: bool) -> None:
    """Compare the spread over seeds under the clock of a CPU trial with that of fixed steps."""
    setting = PROFILES["cpu"]
    setting = setting.model_copy(update={"seconds": seconds or setting.seconds})
    source = TRAIN.read_text(encoding="utf-8")
    try:
        dataset = build_dataset(setting, default_cache(), click.echo)
    except CorpusError as error:
        sys.exit(str(error))
    by_clock = over_seeds(source, setting, dataset, seeds, precedence, "by the clock")
    steps = round(fmean(trial.steps for trial in by_clock))
    ample = setting.model_copy(update={"seconds": AMPLE * setting.seconds})
    fixed = over_seeds(counted(source, steps), ample, dataset, seeds, precedence, "fixed steps")
    rows = [["", "seeds", "mean val_bpb", "spread over seeds", "steps"]]
    rows += [row("by the clock", by_clock), row(f"{steps} steps", fixed)]
    spreads = [stdev(t.val_bpb or 0.0 for t in trials) for trials in (by_clock, fixed)]
    ratio = spreads[0] / spreads[1]
    doubt = ratio / sqrt(seeds - 1)
    click.echo("\n" + markdown(rows))
    click.echo(
        f"\nprecedence: {by_clock[0].precedence}. The clock's spread is {ratio:.2f} ± {doubt:.2f}"
        f" times that of fixed steps (target: at most {TARGET})."
    )


if __name__ == "__main__":
    main()
