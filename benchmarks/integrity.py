"""What holds each attack on the score, and what it costs to hold them."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.inside import InsideTerms, inside_seconds
from benchmarks.table import markdown
from benchmarks.trainer import TRAIN
from tests.scene import ATTACKS, Attack, Scene, staged
from trainer.corpus import CorpusError
from trainer.dataset import Dataset, build_dataset
from trainer.devices import find_devices
from trainer.sandbox import NoWall, find_wall
from trainer.setting import PROFILES, Setting, default_cache
from trainer.trial import Trial, run_trial

# Attacks need no training, and little text.
ATTACK_SETTING = {"vocabulary": 512, "sequence_length": 64, "evaluation_tokens": 4096}
ATTACK_SECONDS = 0.5

MECHANISMS = {
    "scorer": "the score is computed outside, from logits of the shape that was asked for",
    "challenge": "a second process with the same weights is asked about other futures",
    "clock": "the budget is taken from outside, for all processes of the trial",
    "channel": "messages are of known kinds, sizes and order, or the trial ends",
    "wall": "the sandbox: no network, no other file, no other process",
    "bounds": "memory, processes, disk and log are limited",
    "reading": "what a trial leaves behind is opened with care and never executed",
}


@dataclass(frozen=True)
class Cost:
    """Wall seconds of one trial: evaluation inside one process, and what stands in its place."""

    inside_seconds: float
    scoring_seconds: float
    challenge_seconds: float
    challenge_bits: float
    budget_seconds: float
    outside_seconds: float

    @property
    def extra_seconds(self) -> float:
        """What integrity costs beyond an evaluation that trusts the trial."""
        return self.scoring_seconds + self.challenge_seconds - self.inside_seconds


def attack_lines(scene: Scene) -> Iterator[list[str]]:
    """Every attack in turn: what it is, what holds it, what it came to, and whether it must."""
    for path in ATTACKS:
        attack = Attack.read(path)
        trial = scene.trial(attack.text, attack.name)
        held = attack.comes_to(trial) and _gained_nothing(trial, scene.uniform)
        came_to = f"{trial.outcome}: {trial.reason}" if trial.reason else trial.outcome
        short = came_to.replace("|", "/")[:80]
        yield [attack.name, attack.held_by, short, "held" if held else "NOT HELD"]


def _gained_nothing(trial: Trial, uniform: Trial | None) -> bool:
    if trial.val_bpb is None or uniform is None or uniform.val_bpb is None:
        return trial.val_bpb is None
    return trial.val_bpb >= uniform.val_bpb - 1e-6


def measure(setting: Setting, dataset: Dataset, device: str, seeds: int) -> Iterator[Cost]:
    """The baseline's trials, each beside the same evaluation inside one process."""
    source = TRAIN.read_text(encoding="utf-8")
    terms = InsideTerms(train=TRAIN, setting=setting, dataset=dataset, device=device)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            trial = run_trial(
                source,
                seed=seed,
                setting=setting,
                dataset=dataset,
                device=device,
                folder=Path(folder, str(seed)),
            )
            if trial.outcome != "completed":
                raise click.ClickException(f"the baseline {trial.outcome}: {trial.reason}")
            yield Cost(
                inside_seconds=inside_seconds(terms),
                scoring_seconds=trial.evaluation_seconds,
                challenge_seconds=trial.challenge_seconds,
                challenge_bits=trial.challenge_bits,
                budget_seconds=setting.seconds,
                outside_seconds=trial.total_seconds - trial.training_seconds,
            )


def cost_lines(costs: Sequence[Cost]) -> list[str]:
    """The means over all trials, in words."""

    def mean(name: str) -> float:
        return statistics.fmean(getattr(cost, name) for cost in costs)

    budget = costs[0].budget_seconds
    share = mean("extra_seconds") / budget
    rows = [
        ["", "s", f"share of the {budget:g} s budget"],
        *(
            [label, f"{mean(name):.2f}", f"{mean(name) / budget:.1%}"]
            for label, name in (
                ("evaluation inside one process", "inside_seconds"),
                ("scoring from outside", "scoring_seconds"),
                ("challenge", "challenge_seconds"),
                ("integrity: scoring and challenge less the first line", "extra_seconds"),
                ("all that is not training, start-up included", "outside_seconds"),
            )
        ),
    ]
    target = 0.10 if budget < 60 else 0.03
    reached = "reached" if share <= target else "missed"
    bits = max(cost.challenge_bits for cost in costs)
    return [
        markdown(rows),
        "",
        f"Target for integrity: at most {target:.0%}: {reached}, {share:.1%}.",
        f"The honest model's answers differed by at most {bits:.4f} bits between processes.",
    ]


@click.command(
    epilog="""\b
Examples:
  python -m benchmarks.integrity
  python -m benchmarks.integrity --no-attacks --seeds 5
  python -m benchmarks.integrity --no-cost
"""
)
@click.option("--attacks/--no-attacks", default=True, help="Run every file in tests/attacks.")
@click.option("--cost/--no-cost", default=True, help="Measure what integrity costs.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), help="Budget; by default the profile's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def main(attacks: bool, cost: bool, seeds: int, seconds: float | None, device: str) -> None:
    """Print the table of attacks and mechanisms, and the cost of integrity."""
    devices = find_devices(device)
    if not devices:
        sys.exit("there is no CUDA device")
    try:
        click.echo(f"behind {find_wall()}, on {devices[0]}")
        if attacks:
            print_attacks()
        if cost:
            setting = PROFILES["cpu" if devices[0].startswith("cpu") else "gpu"]
            setting = setting.model_copy(update={"seconds": seconds or setting.seconds})
            dataset = build_dataset(setting, default_cache(), click.echo)
            costs = list(measure(setting, dataset, devices[0], seeds))
            click.echo("\n".join(["", *cost_lines(costs)]))
    except (NoWall, CorpusError) as error:
        sys.exit(str(error))


def print_attacks() -> None:
    """Run them all and print what each came to; exits where one is not held."""
    setting = PROFILES["cpu"].model_copy(update={**ATTACK_SETTING, "seconds": ATTACK_SECONDS})
    dataset = build_dataset(setting, default_cache(), click.echo)
    rows = [["attack", "held by", "it came to", ""]]
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(Path(folder), setting, dataset) as scene,
        click.progressbar(attack_lines(scene), len(ATTACKS), file=sys.stderr) as lines,
    ):
        rows += lines
    click.echo("\n" + markdown(rows) + "\n")
    for name, what in MECHANISMS.items():
        count = sum(row[1] == name for row in rows)
        click.echo(f"{name} ({count}): {what}")
    if failed := [row[0] for row in rows if row[3] == "NOT HELD"]:
        sys.exit(f"not held: {', '.join(failed)}")


if __name__ == "__main__":
    main()
