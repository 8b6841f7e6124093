"""Where the noise comes from: the baseline repeated with the same and with different seeds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from org.config import Config
from org.lab import LabError, exclusive
from org.opening import device_names, wall_of
from trainer.dataset import build_dataset
from trainer.devices import Devices
from trainer.locks import shared_folder
from trainer.setting import default_cache
from trainer.trial import Trial, run_trial

BARS = "▁▂▃▄▅▆▇█"
BINS = 12


@dataclass(frozen=True)
class Series:
    """Runs of the baseline in which one thing or another changes from run to run."""

    name: str
    what: str
    changes_seed: bool
    changes_order: bool
    trials: list[Trial] = field(default_factory=list)

    def seeds(self, number: int) -> tuple[int, int]:
        """Of the weights and of the order of the text, in the run of this number, from 1."""
        return (number if self.changes_seed else 1, number if self.changes_order else 1)

    @property
    def scores(self) -> list[float]:
        return [trial.val_bpb for trial in self.trials if trial.val_bpb is not None]

    @property
    def spread(self) -> float:
        """Standard deviation of val_bpb, in bits per byte."""
        return stdev(self.scores)

    @property
    def steps_spread(self) -> float | None:
        """Standard deviation of the steps that the budget bought, as a share of their mean.

        None where train.py reports none.
        """
        steps = [trial.steps for trial in self.trials]
        return stdev(steps) / fmean(steps) if any(steps) else None


def all_series() -> list[Series]:
    """What is repeated: from the machine alone to everything that a seed changes."""
    return [
        Series("machine", "same seed", changes_seed=False, changes_order=False),
        Series("order", "another order of the text", changes_seed=False, changes_order=True),
        Series("weights", "other first weights", changes_seed=True, changes_order=False),
        Series("all", "another seed for both", changes_seed=True, changes_order=True),
    ]


def repeat(config: Config, folder: Path, runs: int, told: Callable[[str], None]) -> list[Series]:
    """Run the baseline so often in each series; what ran before in this lab is found again.

    Raises:
        LabError: another process holds the lab, no wall holds, or a run did not complete.
        CorpusError: the corpus cannot be prepared.
    """
    names, series = device_names(config), all_series()
    setting = config.setting(has_gpu=names[0].startswith("cuda"))
    wall, source = wall_of(config), config.train.read_text(encoding="utf-8")
    with exclusive(folder):
        dataset = build_dataset(setting, default_cache(), told)
        devices, stop = Devices(names, shared_folder(), lab=folder, told=told), threading.Event()

        def measure(one: Series, number: int) -> Trial:
            seed, order_seed = one.seeds(number)
            with devices.lease(stop) as device:
                return run_trial(
                    source,
                    seed=seed,
                    order_seed=order_seed,
                    setting=setting,
                    dataset=dataset,
                    device=device,
                    folder=folder / "noise" / f"{one.name}-{number}",
                    wall=wall,
                    precedence=config.precedence,
                    stop=stop,
                )

        with ThreadPoolExecutor(len(names)) as pool:
            # In turns, so that what the machine does meanwhile falls on all alike.
            asked = {
                pool.submit(measure, one, number): one
                for number in range(1, runs + 1)
                for one in series
            }
            try:
                for done in as_completed(asked):
                    trial, one = done.result(), asked[done]
                    if trial.outcome != "completed":
                        raise LabError(f"the baseline {trial.outcome}: {trial.reason}")
                    one.trials.append(trial)
                    told(f"{one.name}: val_bpb {trial.val_bpb:.4f}, {trial.steps} steps")
            except BaseException:
                stop.set()
                for future in asked:
                    future.cancel()
                raise
    return series


def report(series: list[Series]) -> Iterator[str]:
    """A line for each series, what part of the noise is whose, and a histogram of the last."""
    yield f"{'repeated with':<27} runs  mean val_bpb  spread           steps"
    for one in series:
        runs = len(one.scores)
        error, steps = one.spread / sqrt(2 * (runs - 1)), one.steps_spread
        yield (
            f"{one.what:<27} {runs:>4}  {fmean(one.scores):>12.4f}"
            f"  {one.spread:.4f} ± {error:.4f}  {'unknown' if steps is None else f'± {steps:.1%}'}"
        )
    machine, order, weights, both = (one.spread**2 for one in series)
    yield ""
    for name, part in (
        ("the machine", machine),
        ("the order of the text", max(order - machine, 0.0)),
        ("the first weights", max(weights - machine, 0.0)),
    ):
        share = part / both if both else 0.0
        yield f"of the variance over seeds, {name}: {share:.0%} ({sqrt(part):.4f} bpb)"
    yield ""
    yield from histogram(series[-1].scores)


def histogram(scores: list[float]) -> Iterator[str]:
    """The scores in a line of bars, and what they reach from and to."""
    low, high = min(scores), max(scores)
    counts = [0] * BINS
    for score in scores:
        place = (score - low) / (high - low) * BINS if high > low else 0.0
        counts[min(int(place), BINS - 1)] += 1
    most = max(counts)
    bars = "".join(" " if not n else BARS[(n * len(BARS) - 1) // most] for n in counts)
    yield f"{low:.4f} {bars} {high:.4f}  (val_bpb over {len(scores)} seeds)"
