"""Which experiments are at work, and which wait for a person: while all wait, no time is charged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from roles.patience import Patience


class AtWork:
    """Counts the experiments at hand and those that wait for a person, from any number of threads."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._at_hand = 0
        self._waiting = 0
        self._not_charged: ExitStack | None = None

    @contextmanager
    def experiment(self) -> Iterator[None]:
        """An experiment is at hand for as long as the block lasts."""
        self._count(at_hand=1)
        try:
            yield
        finally:
            self._count(at_hand=-1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """One of them waits for a person for as long as the block lasts."""
        self._count(waiting=1)
        try:
            yield
        finally:
            self._count(waiting=-1)

    def _count(self, *, at_hand: int = 0, waiting: int = 0) -> None:
        with self._lock:
            self._at_hand += at_hand
            self._waiting += waiting
            all_wait = 0 < self._at_hand == self._waiting
            if all_wait and self._not_charged is None:
                self._not_charged = ExitStack()
                self._not_charged.enter_context(self._patience.uncharged())
            elif not all_wait and self._not_charged is not None:
                self._not_charged.close()
                self._not_charged = None
