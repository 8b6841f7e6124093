"""The dollars of a run: a hard cap, for calls that are under way as well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from org.notebook import Notebook


class BudgetSpent(Exception):
    """The next call to a model could cost more than the run may still spend."""


class Purse:
    """What a run may spend on models, shared by all desks; without ``dollars`` it has no bottom."""

    def __init__(self, notebook: Notebook, run: str, dollars: float | None) -> None:
        self.notebook = notebook
        self.run = run
        self.dollars = dollars
        self._lock = threading.Lock()
        self._reserved = 0.0

    @contextmanager
    def open(self, most_dollars: float | None) -> Iterator[None]:
        """Set aside the most that a call can cost until what it did cost is in the notebook.

        None is for a model that costs nothing, or where no cap is set.

        Raises:
            BudgetSpent: the cap does not allow it.
        """
        most = most_dollars or 0.0
        with self._lock:
            if self.dollars is not None and most:
                spent = self.notebook.dollars_at_most(self.run) + self._reserved
                if spent + most > self.dollars:
                    raise BudgetSpent(
                        f"${spent:.4f} of ${self.dollars:g} are spent or under way; the next call"
                        f" may cost up to ${most:.4f}"
                    )
            self._reserved += most
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= most
