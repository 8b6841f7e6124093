"""Measures this repository's train.py, and beside it the train.py of a checkout of autoresearch."""

from __future__ import annotations

import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.compressors import compare
from benchmarks.peer import PeerError, Sizes, read_peer, train_peer
from benchmarks.shim import Terms
from benchmarks.table import EQUAL, OURS, Figures, against_peer, table
from trainer.corpus import CorpusError
from trainer.dataset import build_dataset
from trainer.devices import find_devices
from trainer.setting import PROFILES, Setting, default_cache
from trainer.trial import Trial, run_trial

TRAIN = Path(__file__).parents[1] / "trainer" / "train.py"

NOTES_ON_CPU = """\
Same tokens, tokenizer, context, evaluation rows and threads for all; each alone on its turn.
The budget is counted in processor seconds, the peer's from its first step on (its own clock leaves
the first 11 out). The peer runs in the environment of a trial and with our loader; attention is
torch's, nothing is compiled, bfloat16 where this processor is fast at it, as in our train.py.
Start-up, evaluation and total are wall seconds: on a busy machine they are too long for all."""


class TrialFailed(Exception):
    """A trial of our own train.py has no score; the text says why."""


def sizes_of(train: Path) -> Sizes:
    """The sizes that a train.py of ours has on a CPU, by running its definitions.

    Raises:
        ValueError: a constant is missing.
    """
    constants = runpy.run_path(str(train), run_name="constants")  # a __main__ would train
    try:
        return Sizes(
            depth=constants["DEPTH"],
            width=constants["WIDTH"],
            head_width=constants["HEAD_WIDTH"],
            batch_tokens=constants["BATCH_TOKENS"],
            rows=constants["ROWS"],
            pattern=constants["WINDOW_PATTERN"],
        )
    except KeyError as error:
        raise ValueError(f"{train} does not set {error}") from error


def resized(source: str, sizes: Sizes, sequence_length: int) -> str:
    """Our train.py with the peer's sizes; its short window is half the context.

    Raises:
        ValueError: a constant is not found exactly once.
    """
    constants = {
        "DEPTH": sizes.depth,
        "WIDTH": sizes.width,
        "HEAD_WIDTH": sizes.head_width,
        "BATCH_TOKENS": sizes.batch_tokens,
        "ROWS": sizes.rows,
        "WINDOW_PATTERN": repr(sizes.pattern),
        "SHORT_WINDOW": sequence_length // 2,
    }
    for name, value in constants.items():
        source, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", source)
        if count != 1:
            raise ValueError(f"train.py sets {name} {count} times, not once")
    return source


def figures_of(trial: Trial, contestant: str) -> Figures:
    """What the table needs of a trial.

    Raises:
        TrialFailed: it has no score.
    """
    if trial.val_bpb is None:
        raise TrialFailed(f"{contestant}, seed {trial.seed}: {trial.outcome}: {trial.reason}")
    return Figures(
        contestant=contestant,
        seed=trial.seed,
        val_bpb=trial.val_bpb,
        parameters=trial.parameters,
        steps=trial.steps,
        tokens=trial.tokens,
        budget_seconds=trial.budget_seconds,
        startup_seconds=trial.startup_seconds,
        training_seconds=trial.training_seconds,
        evaluation_seconds=trial.evaluation_seconds,
        total_seconds=trial.total_seconds,
        wait_share=trial.data_wait_seconds / trial.training_seconds,
    )


def contest(
    sources: dict[str, str], peer: str | None, first: Terms, seeds: int, sizes: Sizes | None
) -> Iterator[Figures]:
    """Run every contestant in turn with the first seed, then with the next, and so on."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first.seed, first.seed + seeds):
            for number, (contestant, source) in enumerate(sources.items()):
                trial = run_trial(
                    source,
                    seed=seed,
                    setting=first.setting,
                    dataset=first.dataset,
                    device=first.device,
                    folder=Path(folder, f"{seed}-{number}"),
                )
                yield figures_of(trial, contestant)
                if peer and number == 0:
                    terms = first.model_copy(update={"seed": seed})
                    yield train_peer(peer, terms, sizes=sizes, folder=Path(folder, f"{seed}-peer"))


def progress_line(figures: Figures) -> str:
    """One finished run."""
    return (
        f"seed {figures.seed}  {figures.contestant}: val_bpb {figures.val_bpb:.4f}, "
        f"{figures.steps} steps, {figures.tokens_per_second:,.0f} tokens/s, "
        f"{figures.total_seconds:.1f} s in all"
    )


def chosen_sizes(ours: Sizes | None, given: dict[str, int | str | None]) -> Sizes | None:
    """The peer's sizes: ours, but for those given; on a GPU (``ours`` is None) it keeps its own.

    Raises:
        click.UsageError: sizes were given for a GPU, or do not go together.
    """
    changed = {name: value for name, value in given.items() if value is not None}
    if ours is None:
        if changed:
            raise click.UsageError("on a GPU the peer keeps its own sizes")
        return None
    sizes = ours.model_copy(update=changed)
    if sizes.width % sizes.head_width or sizes.depth > sizes.head_width:
        raise click.UsageError("--peer-width must be whole heads of --peer-head-width")
    return sizes


@click.command(
    epilog="""\b
Examples:
  python -m benchmarks.trainer --seeds 2 --seconds 10 --no-compressors
  python -m benchmarks.trainer --peer ../autoresearch
  python -m benchmarks.trainer --peer ../autoresearch --peer-batch-tokens 16384
  python -m benchmarks.trainer --train changed.py --no-compressors
"""
)
@click.option("--peer", type=Path, help="A checkout of karpathy/autoresearch to compare with.")
@click.option(
    "--train",
    type=click.Path(exists=True, path_type=Path),
    default=TRAIN,
    help="The train.py to measure, in place of this repository's.",
)
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True, help="Seeds each.")
@click.option("--first-seed", type=int, default=1, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), help="Budget; by default the profile's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--peer-depth", "depth", type=click.IntRange(1), help="Layers of the peer, on a CPU.")
@click.option(
    "--peer-width", "width", type=click.IntRange(1), help="Channels of the peer, on a CPU."
)
@click.option(
    "--peer-head-width", "head_width", type=click.IntRange(1), help="Channels of one of its heads."
)
@click.option(
    "--peer-batch-tokens",
    "batch_tokens",
    type=click.IntRange(1),
    help="Tokens per step of the peer.",
)
@click.option("--peer-rows", "rows", type=click.IntRange(1), help="Sequences per pass of the peer.")
@click.option("--peer-pattern", "pattern", help="Its windows: S half the context, L all of it.")
@click.option(
    "--equal/--no-equal",
    default=True,
    help="Also run our train.py with the peer's sizes, on a CPU.",
)
@click.option(
    "--compressors/--no-compressors",
    default=True,
    help="Also say what gzip, bzip2 and xz reach on the validation text.",
)
def main(
    peer: Path | None,
    train: Path,
    seeds: int,
    first_seed: int,
    seconds: float | None,
    device: str,
    equal: bool,
    compressors: bool,
    **given: int | str | None,
) -> None:
    """Train with several seeds and print what it reaches, how fast, and what it costs besides.

    The peer, this train.py and, where the peer's sizes are others, this train.py with these take
    turns. By default the peer gets our sizes on a CPU and keeps its own on a GPU.
    """
    devices = find_devices(device)
    if not devices:
        sys.exit("there is no CUDA device")
    cpu = devices[0].startswith("cpu")
    setting = PROFILES["cpu" if cpu else "gpu"]
    setting = setting.model_copy(update={"seconds": seconds or setting.seconds})
    sources = {OURS: train.read_text(encoding="utf-8")}
    figures = []
    try:
        peer_source = read_peer(peer) if peer else None
        ours = sizes_of(train) if cpu else None
        sizes = chosen_sizes(ours, given)
        if peer_source and equal and sizes and sizes != ours:
            sources[EQUAL] = resized(sources[OURS], sizes, setting.sequence_length)
        dataset = build_dataset(setting, default_cache(), click.echo)
        first = Terms(setting=setting, dataset=dataset, seed=first_seed, device=devices[0])
        for one in contest(sources, peer_source, first, seeds, sizes):
            click.echo(progress_line(one))
            figures.append(one)
    except (PeerError, TrialFailed, CorpusError, ValueError) as error:
        sys.exit(str(error))
    click.echo(f"\n{setting.corpus}, {setting.seconds:g} s on {devices[0].partition(':')[0]}")
    if peer and cpu:
        click.echo(f"{NOTES_ON_CPU}\nThe peer's sizes: {sizes}")
    same_sizes = sizes is not None and sizes == ours
    click.echo("\n".join(["", table(figures), "", *against_peer(figures, same_sizes)]))
    if compressors:
        print_compressors(setting)


def print_compressors(setting: Setting) -> None:
    """A scale for val_bpb: what general compressors make of the same text."""
    click.echo("\nThe validation text after the training text, in bits per byte:")
    for name, bits in compare(setting, default_cache()):
        click.echo(f"  {name:<8} {bits:.3f}")


if __name__ == "__main__":
    main()
