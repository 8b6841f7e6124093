"""Does a certified gain hold? Baseline and incumbent of a lab, measured again on fresh seeds."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, stdev

import click

from org.notebook import Notebook, Run, is_lab
from org.reading import reading
from org.telling.results import read_results
from trainer.dataset import Dataset, build_dataset
from trainer.devices import Devices, find_devices
from trainer.evidence.effect import Scored, effect_of, paired
from trainer.evidence.spread import Spread
from trainer.locks import shared_folder
from trainer.setting import Setting, default_cache
from trainer.trial import run_trial

FIRST_SEED = 900_000  # far from all that a lab uses


def measure(
    sources: dict[str, str], setting: Setting, dataset: Dataset, seeds: int, precedence: bool
) -> dict[str, list[Scored]]:
    """So many fresh runs of each source, in turns, on all devices."""
    names = find_devices("cuda" if setting.profile == "gpu" else "cpu", setting.threads)
    runs: dict[str, list[Scored]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(names)) as pool:
        devices = Devices(names, shared_folder())

        def one(name: str, seed: int) -> None:
            with devices.lease(threading.Event()) as device:
                trial = run_trial(
                    sources[name],
                    seed=seed,
                    setting=setting,
                    dataset=dataset,
                    device=device,
                    folder=Path(folder, f"{name}-{seed}"),
                    precedence=precedence,
                )
            if trial.val_bpb is None:
                raise click.ClickException(f"{name}, seed {seed}: {trial.outcome}: {trial.reason}")
            runs[name].append((seed, trial.val_bpb))
            click.echo(f"{name}, seed {seed}: val_bpb {trial.val_bpb:.4f}, {trial.steps} steps")

        waiting = [
            pool.submit(one, name, seed)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
            for name in sources
        ]
        for done in waiting:
            done.result()
    return runs


def spread_of(groups: list[list[float]]) -> Spread:
    """The spread within groups of equal size."""
    freedom = sum(len(group) - 1 for group in groups)
    bpb = (sum(stdev(group) ** 2 * (len(group) - 1) for group in groups) / freedom) ** 0.5
    return Spread(bpb=bpb, freedom=freedom)


def report(notebook: Notebook, runs: dict[str, list[Scored]]) -> list[str]:
    """The gain that the notebook certifies beside the one that fresh runs show."""
    certified = read_results(notebook).improvement
    if certified is None:
        return ["Nothing was certified in this lab: there is no claim to hold."]
    scores = [[bpb for _, bpb in of_source] for of_source in runs.values()]
    pairs = paired(runs["incumbent"], runs["baseline"])
    again = effect_of(
        runs["incumbent"],
        runs["baseline"],
        run=spread_of(scores),
        pair=spread_of([pairs]),
        kind="certified",
    )
    low, high = certified.interval()
    holds = low <= again.bpb <= high
    return [
        f"certified: {certified.text} bpb, 95 % interval {low:+.4f} to {high:+.4f}",
        f"measured again: {again.bpb:+.4f} ± {again.error:.4f} bpb ({again.seeds} seeds each)",
        f"the new mean lies in the certified interval: {'yes' if holds else 'no'}",
        f"share of the claimed gain that was found again: {again.bpb / certified.bpb:.0%}",
        f"baseline {fmean(scores[0]):.4f}, incumbent {fmean(scores[1]):.4f}",
    ]


@click.command(
    epilog="""\b
Example:
  python -m benchmarks.truth --lab labs/default"""
)
@click.option("--lab", type=click.Path(exists=True, path_type=Path), default=Path("labs/default"))
@click.option("--seeds", type=click.IntRange(3), default=8, show_default=True, help="Of each.")
def main(lab: Path, seeds: int) -> None:
    """Measure baseline and incumbent of a lab again, and hold the certified gain against that."""
    if not is_lab(lab):
        sys.exit(f"{lab} is no lab: there is no notebook in it")
    with reading(Path("org.yaml"), lab) as notebook:
        first, last = notebook.incumbents()[0], notebook.incumbents()[-1]
        if first == last:
            sys.exit("Nothing was certified in this lab: there is no claim to hold.")
        of_run: Run = notebook.runs()[-1]
        terms = json.loads(of_run.org_yaml)  # as it was read then, its paths and all
        setting = of_run.setting
        dataset = build_dataset(setting, default_cache(), click.echo)
        sources = {
            "baseline": notebook.source(first.source_sha),
            "incumbent": notebook.source(last.source_sha),
        }
        runs = measure(sources, setting, dataset, seeds, terms["precedence"])
        click.echo("\n" + "\n".join(report(notebook, runs)))


if __name__ == "__main__":
    main()
