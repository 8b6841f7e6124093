"""The dollars of a run: a hard cap, for requests that are under way as well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from roles.model import AskAbandoned, ModelError


class BudgetSpent(ModelError):
    """The next request could cost more than the run may still spend; waiting is no use."""


@dataclass
class Bill:
    """What a request did cost; whoever sends it fills that in."""

    dollars: float = 0.0


class Purse:
    """What a run may spend on models, shared by all of them; without ``dollars`` it has no bottom.

    ``spent`` is the most that the requests so far can have cost, in dollars. Once ``stop`` is set,
    nobody begins to wait. ``short`` says why a request was refused for good, "" while none was.
    """

    def __init__(
        self,
        dollars: float | None = None,
        spent: float = 0.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.dollars = dollars
        self.spent = spent
        self.stop = stop or threading.Event()
        self.short = ""
        self._under_way: list[float] = []
        self._settled = threading.Condition()

    @property
    def is_empty(self) -> bool:
        """Whether there is no use in beginning anything that costs something."""
        return bool(self.short) or (self.dollars is not None and self.spent >= self.dollars)

    @contextmanager
    def open(self, most_dollars: float | None) -> Iterator[Bill]:
        """Set aside the most that a request can cost until it is known what it did cost.

        It is waited for while it would fit but for what others have set aside: most of that comes
        back. None is for where no cap is set.

        Raises:
            BudgetSpent: the cap does not allow it, whatever those under way come to.
            AskAbandoned: it would have to be waited for, and a stop was asked for.
        """
        most = most_dollars or 0.0
        with self._settled:
            while most and not self._allows(most):
                self._settled.wait()
            self._under_way.append(most)
        bill = Bill()
        try:
            yield bill
        finally:
            with self._settled:
                self._under_way.remove(most)
                self.spent += bill.dollars
                self._settled.notify_all()

    def _allows(self, most: float) -> bool:
        if self.dollars is None or self.spent + sum(self._under_way) + most <= self.dollars:
            return True
        # Whoever waits has set nothing aside: something is under way here, and its end wakes us.
        if self.spent + most <= self.dollars:
            if self.stop.is_set():
                raise AskAbandoned("stopped before the dollars were there")
            return False
        self.short = (
            f"${self.spent:.4f} of ${self.dollars:g} are spent,"
            f" and the next request may cost up to ${most:.4f}"
        )
        raise BudgetSpent(self.short)
