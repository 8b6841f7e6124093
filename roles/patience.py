"""How trouble that passes is waited out: a rate limit, a time-out, an endpoint that is down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from roles.model import AskAbandoned, ModelError

PATIENCE_SECONDS = 12 * 3600.0  # a night
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
SAID_FROM_SECONDS = 10.0  # shorter waits are nobody's concern

# limit: the endpoint asks for patience. down: nobody answers, or says to be out of order.
# error: an internal error, which may be the request's fault. slow: it was worked on, and will be
# billed for all we know, but no reply came.
Kind = Literal["limit", "down", "error", "slow"]


class Passing(Exception):
    """Trouble that may be over the next time; the message is one line.

    ``retry_after`` is for how many seconds the endpoint asked, None if it did not.
    """

    def __init__(self, text: str, kind: Kind, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_after = retry_after


class Patience:
    """Waiting, shared by all models of a run and by any number of threads.

    ``stop`` ends every wait, ``say`` hears of the long ones. Pauses double from a second to a
    minute, with jitter so that desks do not come back all at once, and are never shorter than an
    endpoint asks. After ``seconds`` of waiting on one question it is given up. ``pause`` and
    ``clock`` stand for the real ones.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        say: Callable[[str], None] = lambda text: None,
        *,
        seconds: float = PATIENCE_SECONDS,
        pause: Callable[[threading.Event, float], object] = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop or threading.Event()
        self.say = say
        self.seconds = seconds
        self.pause = pause
        self.clock = clock
        self._lock = threading.Lock()
        self._uncharged = 0  # how many have a reason not to be charged, at this moment
        self._uncharged_since = 0.0
        self._uncharged_seconds = 0.0

    def uncharged_seconds(self) -> float:
        """Wall seconds so far that no budget is charged, as an endpoint that was down was waited for.

        So are those of a pause. Rate limits are not in it: they are how an endpoint works.
        """
        with self._lock:
            now = self.clock() - self._uncharged_since if self._uncharged else 0.0
            return self._uncharged_seconds + now

    def waiting(self, whom: str) -> Wait:
        """The waiting of one question to the model of this name."""
        return Wait(self, whom)

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """Time inside is charged to no budget, and counts once, however many are inside."""
        with self._lock:
            if not self._uncharged:
                self._uncharged_since = self.clock()
            self._uncharged += 1
        try:
            yield
        finally:
            with self._lock:
                self._uncharged -= 1
                if not self._uncharged:
                    self._uncharged_seconds += self.clock() - self._uncharged_since


class Wait:
    """The waiting of one question: how long it has been, and how long the next pause is."""

    def __init__(self, patience: Patience, whom: str) -> None:
        self.patience = patience
        self.whom = whom
        self.seconds = 0.0
        self._since = 0.0
        self._before = 0.0
        self._pauses = 0
        self._say_from = SAID_FROM_SECONDS

    def out(self, trouble: Passing) -> None:
        """Pause for once because of some trouble; `over` ends a series of pauses.

        Raises:
            AskAbandoned: a stop was asked for.
            ModelError: it was waited for long enough, or would be.
        """
        if not self._pauses:
            self._since, self._before = self.patience.clock(), self.seconds
        pause = self._next_pause(trouble)
        if self.seconds + pause > self.patience.seconds:
            raise ModelError(f"{self.whom}: {trouble}; given up after {_span(self.seconds)}")
        self._say(trouble, pause)
        if trouble.kind in ("down", "error"):
            with self.patience.uncharged():
                self._pause(pause)
        else:
            self._pause(pause)
        self.seconds = self._before + self.patience.clock() - self._since

    def over(self) -> None:
        """The trouble has passed; the next will be another."""
        if self._say_from > SAID_FROM_SECONDS:
            self.patience.say(f"{self.whom} answers again, after {_span(self.seconds)}")
        self._pauses, self._say_from = 0, SAID_FROM_SECONDS

    def _next_pause(self, trouble: Passing) -> float:
        doubled: float = min(FIRST_PAUSE_SECONDS * 2**self._pauses, LONGEST_PAUSE_SECONDS)
        self._pauses = min(self._pauses + 1, 16)
        jittered = doubled * random.uniform(0.5, 1.0)
        if trouble.retry_after is None:
            return jittered
        return trouble.retry_after + min(jittered, trouble.retry_after / 10)

    def _say(self, trouble: Passing, pause: float) -> None:
        """Say that it takes time, each time that it has taken twice as long."""
        coming = self.seconds - self._before + pause
        if coming < self._say_from:
            return
        self._say_from = 2 * coming
        so_far = f", after {_span(self.seconds)} of waiting" if self.seconds >= 1 else ""
        self.patience.say(f"{self.whom}: {trouble}; waiting {_span(pause)} more{so_far}")

    def _pause(self, seconds: float) -> None:
        stop = self.patience.stop
        self.patience.pause(stop, seconds)
        if stop.is_set():
            raise AskAbandoned(f"{self.whom}: stopped while waiting for it")


def _span(seconds: float) -> str:
    """A time in words: `40 s`, `3 min`, `1.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
