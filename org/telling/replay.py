"""A discussion, told again from the notebook: who said what to whom, when, and at what cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from org.figures import clock, day_and_clock, duration
from org.notebook import Notebook
from org.plain import one_line, plain
from org.telling.hearing import Ear, Event
from org.telling.results import numbered

TOLD = 10  # experiments, unless all are asked for; and so many are read at a time
LOOK_SECONDS = 0.5  # between two looks at a notebook that another process writes


def replay(
    notebook: Notebook,
    number: int | None = None,
    *,
    follow: bool = False,
    everything: bool = False,
) -> Iterator[RenderableType]:
    """The discussion of an experiment, or of the latest and all that happened meanwhile, as it went.

    With ``everything`` it begins with the first experiment.
    With ``follow`` it is listened to as it goes on in another process: see `overhear`.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    if number is not None:
        numbered(notebook, number)
    if follow:
        yield from overhear(notebook, number)
        return
    if number is not None:
        events = iter(Ear(notebook, number, number).listen()[0])
    else:
        first = 1 if everything else _first_told(notebook)
        events = _everything(notebook, first)
        if first > 1:
            yield Text(f"From experiment {first} on; --all begins with the first.\n", "dim")
    yield from map(_told, events)


def _first_told(notebook: Notebook) -> int:
    return max(notebook.experiments_count() - TOLD + 1, 1)


def _everything(notebook: Notebook, first: int) -> Iterator[Event]:
    """All that happened, from an experiment on, a few of them at a time.

    What happened after the next ones began is kept until they are heard, too.
    """
    kept: list[Event] = []
    since = 0.0 if first == 1 else None
    for begin in range(first, max(notebook.experiments_count(), 1) + 1, TOLD):
        ear = Ear(notebook, begin, begin + TOLD - 1, since)
        kept = sorted([*kept, *ear.listen()[0]], key=lambda event: event.time)
        yield from (event for event in kept if event.time < ear.until)
        kept, since = [event for event in kept if event.time >= ear.until], ear.until
    yield from kept


def overhear(
    notebook: Notebook, number: int | None = None, stop: threading.Event | None = None
) -> Iterator[RenderableType]:
    """The discussion as it goes on in another process, until the run or the experiment has ended.

    It begins where the oldest experiment that is still open began, or the one that is asked for.
    Between two looks nothing is held, so that the run is never kept waiting. A run that was
    stopped has not ended: it may go on. Setting ``stop`` ends the following.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    stop = stop or threading.Event()
    if number is not None:
        numbered(notebook, number)
    first = _first_to_follow(notebook) if number is None else number
    ear = Ear(notebook, first, number, None if first else 0.0)
    while True:
        events, over = ear.listen()
        yield from map(_told, events)
        if over:
            said = (
                "The run has ended."
                if number is None
                else f"No more is said of experiment {number}."
            )
            yield Text(said, "dim")
        if over or stop.wait(LOOK_SECONDS):
            return


def _first_to_follow(notebook: Notebook) -> int:
    """The number of the oldest open experiment, or of the next one; 0 before the first."""
    (row,) = notebook.rows(
        "select (select min(number) from experiments where decision is null) as open,"
        " (select max(number) + 1 from experiments) as next"
    )
    return row["open"] or row["next"] or 0


def _told(event: Event) -> RenderableType:
    """An event for a terminal: a line of who and when, and what was said under it."""
    if event.begins:
        title = Text(f"{event.what}, {day_and_clock(event.time)}", "bold")
        return Group(Rule(title, align="left", style="dim"), Text())
    since = f"+{duration(event.time - event.experiment.started)}" if event.experiment else ""
    number = f"#{event.experiment.number}" if event.experiment else ""
    head = Text(f"{clock(event.time)}  {since:>7}  {number:<5}", "dim")
    head.append(one_line(event.what), f"not dim {event.style}")
    said = plain(event.text).strip()
    body = Text(event.aside, "dim", overflow="fold")
    if event.aside and said:
        body.append("\n")
    body.append(said, "not dim")
    return Group(head, Padding(body, (0, 0, 1, 4), expand=False))
