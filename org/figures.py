"""Figures in words: effects with their uncertainty, money, time; unknown is never 0."""

from __future__ import annotations

import time
from typing import NamedTuple


class Cost(NamedTuple):
    """What replies cost: the dollars that are known, and how many replies of unknown price."""

    dollars: float = 0.0
    unknown_count: int = 0

    def __str__(self) -> str:
        if not self.unknown_count:
            return money(self.dollars)
        return f"≥{money(self.dollars)}" if self.dollars else "unknown"


def money(dollars: float) -> str:
    """Dollars and cents; below a cent with the digits that cents would hide."""
    if not dollars:
        return "$0"
    return f"${dollars:,.2f}" if dollars >= 0.01 else f"${dollars:.4f}"


def signed(bpb: float) -> str:
    """A difference in bits per byte, with its sign."""
    return f"{round(bpb, 4) + 0.0:+.4f}".replace("-", "−")  # no nothing below zero


def signed_percent(share: float) -> str:
    """A relative difference, with its sign."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def effect_text(effect: float, standard_error: float) -> str:
    """An effect in bits per byte; it is never shown without its standard error."""
    return f"{signed(effect)} ± {standard_error:.4f}"


def duration(seconds: float) -> str:
    """A span of time, in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def clock(unix_seconds: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(unix_seconds))


def day_and_clock(unix_seconds: float) -> str:
    """The local date and time of day."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))


def counted(count: int, noun: str) -> str:
    """So many of something: ``1 trial``, ``2 trials``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
