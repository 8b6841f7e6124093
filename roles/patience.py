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
        # How many there are at this moment of each kind, and since when there are so many.
        self._charged = self._uncharged = self._paused = 0
        self._since = clock()
        self._uncharged_seconds = self._paused_seconds = 0.0

    def uncharged_seconds(self) -> float:
        """Wall seconds so far that no budget is charged, as an endpoint that was down was waited for.

        So are those of a pause. Rate limits are not in it: they are how an endpoint works.
        """
        with self._lock:
            return self._uncharged_seconds + self._lasts(self._uncharged)

    def paused_seconds(self) -> float:
        """Those of them in which a person wanted nothing to go on."""
        with self._lock:
            return self._paused_seconds + self._lasts(self._paused)

    def waiting(self, whom: str) -> Wait:
        """The waiting of one question to the model of this name."""
        return Wait(self, whom)

    @contextmanager
    def uncharged(self, *, paused: bool = False) -> Iterator[None]:
        """Time inside is charged to no budget, and counts once, however many are inside.

        Unless something is at work that is charged. ``paused`` is what a person wants.
        """
        self._change(uncharged=1, paused=int(paused))
        try:
            yield
        finally:
            self._change(uncharged=-1, paused=-int(paused))

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Time inside is charged, whatever is waited for meanwhile: something is at work."""
        self._change(charged=1)
        try:
            yield
        finally:
            self._change(charged=-1)

    def forgive(self, since: float) -> None:
        """Charge no budget for the time since then, by the ``clock``: it was waiting all along.

        What was at work meanwhile, or not charged for another reason, ends what is forgiven: nothing
        is forgiven twice.
        """
        with self._lock:
            if not (self._charged or self._uncharged):
                now = self.clock()
                self._uncharged_seconds += now - max(since, self._since)
                self._since = now

    def _change(self, *, charged: int = 0, uncharged: int = 0, paused: int = 0) -> None:
        with self._lock:
            self._uncharged_seconds += self._lasts(self._uncharged)
            self._paused_seconds += self._lasts(self._paused)
            self._since = self.clock()
            self._charged += charged
            self._uncharged += uncharged
            self._paused += paused

    def _lasts(self, count: int) -> float:
        """For how many seconds there have been so many of a kind, nothing being charged."""
        return self.clock() - self._since if count and not self._charged else 0.0


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

    def out(self, trouble: Passing, tried_at: float | None = None) -> None:
        """Pause for once because of some trouble; `over` ends a series of pauses.

        ``tried_at`` is when the attempt began that came to that, by the clock of the patience: of an
        endpoint that is down, the attempt is charged no more than the pause.

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
            if tried_at is not None:
                self.patience.forgive(tried_at)
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
        asked = trouble.retry_after or 0.0
        return max(jittered, asked + min(jittered, asked / 10))

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
