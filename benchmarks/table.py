"""What was measured of each training run, and the table that puts contestants side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

OURS, PEER, EQUAL = "this train.py", "peer", "this train.py, the peer's sizes"


class Figures(BaseModel):
    """One training run of one contestant with one seed.

    ``budget_seconds`` is what the budget's clock counted while training: processor seconds per
    thread on a CPU, wall seconds on a GPU. All other seconds are wall seconds; a ``wait_share`` is
    the part of the training spent waiting for data, None where nobody measured it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contestant: str
    seed: int
    val_bpb: float
    parameters: int
    steps: int
    tokens: int
    budget_seconds: float
    startup_seconds: float
    training_seconds: float
    evaluation_seconds: float
    total_seconds: float
    wait_share: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of the budget's clock: on a busy machine wall time says little."""
        return self.tokens / self.budget_seconds

    @property
    def outside_share(self) -> float:
        """Wall seconds that were not training, as a share of the seconds that were counted."""
        return (self.total_seconds - self.training_seconds) / self.budget_seconds


Column = tuple[str, Callable[[Sequence[Figures]], str]]


def mean(figures: Sequence[Figures], read: Callable[[Figures], float]) -> float:
    """The mean of one figure over a contestant's seeds."""
    return statistics.fmean(map(read, figures))


def spread(figures: Sequence[Figures]) -> float | None:
    """Standard deviation of val_bpb over seeds; unknown of fewer than two."""
    return statistics.stdev(f.val_bpb for f in figures) if len(figures) > 1 else None


def _bpb(figures: Sequence[Figures]) -> str:
    deviation = spread(figures)
    text = f"{mean(figures, lambda f: f.val_bpb):.4f}"
    return text if deviation is None else f"{text} ± {deviation:.4f}"


def _wait(figures: Sequence[Figures]) -> str:
    known = [f.wait_share for f in figures if f.wait_share is not None]
    return f"{statistics.fmean(known):.2%}" if known else "unknown"


COLUMNS: tuple[Column, ...] = (
    ("val_bpb ± spread", _bpb),
    ("parameters", lambda fs: f"{fs[0].parameters / 1e6:.2f} M"),
    ("steps", lambda fs: f"{mean(fs, lambda f: f.steps):.0f}"),
    ("tokens/s", lambda fs: f"{mean(fs, lambda f: f.tokens_per_second):,.0f}"),
    ("start-up s", lambda fs: f"{mean(fs, lambda f: f.startup_seconds):.2f}"),
    ("evaluation s", lambda fs: f"{mean(fs, lambda f: f.evaluation_seconds):.2f}"),
    ("total s", lambda fs: f"{mean(fs, lambda f: f.total_seconds):.1f}"),
    ("outside budget", lambda fs: f"{mean(fs, lambda f: f.outside_share):.1%}"),
    ("waiting for data", _wait),
)


def grouped(figures: Sequence[Figures]) -> dict[str, list[Figures]]:
    """The runs of each contestant, in the order in which they first ran."""
    groups: dict[str, list[Figures]] = {}
    for one in figures:
        groups.setdefault(one.contestant, []).append(one)
    return groups


def table(figures: Sequence[Figures]) -> str:
    """A Markdown table: a line for each contestant, means over its seeds."""
    rows = [["", "seeds", *(name for name, _ in COLUMNS)]]
    for contestant, runs in grouped(figures).items():
        rows.append([contestant, str(len(runs)), *(write(runs) for _, write in COLUMNS)])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as a Markdown table; the first has the names of the columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = (" | ".join(map(str.ljust, row, widths)) for row in ruled)
    return "\n".join(f"| {line} |" for line in lines)


def against_peer(figures: Sequence[Figures], same_sizes: bool) -> list[str]:
    """How this train.py stands to the peer, a line for each comparison that can be made.

    With ``same_sizes`` the two have one size and batch, and are compared in speed as they are.
    """
    groups = grouped(figures)
    ours, peer, equal = (groups.get(name, []) for name in (OURS, PEER, EQUAL))
    lines = []
    if ours and peer:
        us, them = (mean(runs, lambda f: f.val_bpb) for runs in (ours, peer))
        lines.append(f"val_bpb: {us - them:+.4f} against the peer, ratio {us / them:.4f}")
        deviations = [deviation for runs in (ours, peer) if (deviation := spread(runs)) is not None]
        if deviations:
            limit = 2 * max(deviations)
            verdict = "yes" if them - us > limit else "no"
            lines[-1] += f"; below it by more than twice the larger spread ({limit:.4f}): {verdict}"
        lines.append(f"tokens per second: {_speed_ratio(ours, peer):.2f} times the peer's")
    equal = ours if same_sizes else equal
    if equal and peer:
        ratio = _speed_ratio(equal, peer)
        lines.append(f"tokens per second at equal sizes: {ratio:.2f} times the peer's")
    return lines


def _speed_ratio(ours: Sequence[Figures], peer: Sequence[Figures]) -> float:
    us, them = (mean(runs, lambda f: f.tokens_per_second) for runs in (ours, peer))
    return us / them
