"""A run that is steered from another terminal: paused, resumed and stopped, through its notebook."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from org.figures import day_and_clock
from org.lab import Lab, LabError, is_held
from org.notebook import Notebook, Row
from org.writing import insert

LOOK_SECONDS = 0.5  # between two looks at what people want
LOOKS_FOR_TIME = 20  # until the time worked is kept again
GO_ON = "python -m org resume"

What = Literal["pause", "resume", "stop", "stop now"]


class Order(Row):
    """What a person told a lab from another terminal; ``time`` is in Unix seconds."""

    number: int
    time: float
    author: str
    what: What


# --- who gives it ---------------------------------------------------------------------------------


def pause(notebook: Notebook, folder: Path, author: str) -> str:
    """Have nothing new begun until `resume`; what to tell the person."""
    if before := paused_by(notebook):
        return f"{folder} is paused already, {by(before)}; {GO_ON} goes on."
    _give(notebook, "pause", author)
    if is_held(folder):
        return f"Paused: what runs is finished, nothing new begins. {GO_ON} goes on."
    return f"No run is going on in {folder}: the next one begins paused, until {GO_ON}."


def resume(notebook: Notebook, folder: Path, author: str) -> str:
    """Undo `pause`; what to tell the person."""
    if paused_by(notebook) is None:
        return f"{folder} is not paused."
    _give(notebook, "resume", author)
    if is_held(folder):
        return "The run goes on."
    return f"{folder} is no longer paused, but no run is going on in it: python -m org run goes on."


def stop(notebook: Notebook, folder: Path, author: str, *, now: bool = False) -> str:
    """Stop the run that is going on, as Ctrl-C does, or ``now`` as a second Ctrl-C; what to tell.

    Raises:
        LabError: no run is going on there.
    """
    if not is_held(folder):
        raise LabError(f"no run is going on in {folder}: there is nothing to stop")
    _give(notebook, "stop now" if now else "stop", author)
    how = "abandons the trials at hand" if now else "finishes the trials at hand"
    return f"The run {how} and stops; python -m org run goes on with it later."


def paused_by(notebook: Notebook) -> Order | None:
    """The order that keeps a lab paused, or None."""
    rows = notebook.rows(
        "select * from orders where what in ('pause', 'resume') order by number desc limit 1"
    )
    return Order(**rows[0]) if rows and rows[0]["what"] == "pause" else None


def by(order: Order) -> str:
    """Who gave an order, and when."""
    return f"by {order.author} since {day_and_clock(order.time)}"


def _give(notebook: Notebook, what: What, author: str) -> None:
    with notebook.transaction() as db:
        insert(db, "orders", {"time": time.time(), "author": author, "what": what})


# --- who follows it -------------------------------------------------------------------------------


@contextmanager
def steered(lab: Lab) -> Iterator[None]:
    """Follow what people want from other terminals while the block lasts.

    A pause that was there before is in force from the start.
    """
    helm, over = _Helm(lab), threading.Event()
    helm.look()

    def watch() -> None:
        looks = 0
        while not over.wait(LOOK_SECONDS):
            helm.look()
            looks += 1
            if looks % LOOKS_FOR_TIME == 0:
                with suppress(sqlite3.OperationalError):  # who has more to write will say so
                    lab.keep_time()  # that of a life that is killed counts too

    watching = threading.Thread(target=watch, name="helm", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        helm.not_charged.close()


def wind_down(lab: Lab, *, now: bool = False, wish: str = "Ctrl-C again abandons them") -> None:
    """Begin nothing new, and with ``now`` abandon the trials at hand too."""
    lab.stop.set()
    if now:
        lab.abandon.set()
        lab.onlooker.note("abandoning the trials at hand; they will be run again")
    else:
        lab.onlooker.note(f"stopping after the trials at hand; {wish}")


class _Helm:
    """Puts a lab on the course that its notebook says; what it followed once it does not again.

    A stop is meant for the process that was there when it was given, a pause for all that come.
    Which came first is told by their numbers: clocks are put back.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.not_charged = ExitStack()
        self._seen = lab.last_order

    def look(self) -> None:
        for order in self._new_stops():
            self._seen = order.number
            now = order.what == "stop now"
            if not (self.lab.abandon if now else self.lab.stop).is_set():
                wish = f"{order.author} wants it; python -m org stop --now abandons them"
                wind_down(self.lab, now=now, wish=wish)
        self._pause_or_go_on(paused_by(self.lab.notebook))

    def _new_stops(self) -> list[Order]:
        rows = self.lab.notebook.rows(
            "select * from orders where what in ('stop', 'stop now') and number > :seen"
            " order by number",
            {"seen": self._seen},
        )
        return [Order(**row) for row in rows]

    def _pause_or_go_on(self, order: Order | None) -> None:
        if order and self.lab.going.is_set():
            self.lab.going.clear()
            self.not_charged.enter_context(self.lab.patience.uncharged(paused=True))
            self.lab.onlooker.note(
                f"paused {by(order)}: what runs is finished, nothing new begins; {GO_ON} goes on"
            )
            self.lab.onlooker.doing("run", f"paused {by(order)}; {GO_ON} goes on")
        elif order is None and not self.lab.going.is_set():
            self.not_charged.close()
            self.lab.going.set()
            self.lab.onlooker.doing("run", "")
            self.lab.onlooker.note("the run goes on")
