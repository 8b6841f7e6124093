"""Who sits at the terminal of a run is asked there whether a patch may be tried, and answers there."""

from __future__ import annotations

import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from org.approval import Question, answer, questions
from org.lab import Lab, LabError
from org.notes import this_person
from org.plain import one_line
from org.telling.changes import changed_by, coloured

LOOK_SECONDS = 0.3  # between two looks at what waits, and at what was typed

# yes, y 3, no because of …, n 3 because of …
_TYPED = re.compile(r"(?P<word>y|yes|n|no)\b\s*(?P<number>\d+)?\s*(?P<reason>.*)", re.I | re.S)


@contextmanager
def asking_here(lab: Lab, console: Console) -> Iterator[None]:
    """Ask on this terminal while the block lasts, if it is one and org.yaml wants a person asked."""
    if not (lab.config.approval and console.is_terminal and sys.stdin.isatty()):
        yield
        return
    over = threading.Event()
    clerk = threading.Thread(target=_Clerk(lab, console, over).work, name="clerk", daemon=True)
    clerk.start()
    try:
        yield
    finally:
        over.set()
        clerk.join()


class _Clerk:
    """Shows each patch that waits, once, and takes what is typed for the answer to the oldest."""

    def __init__(self, lab: Lab, console: Console, over: threading.Event) -> None:
        self.lab, self.console, self.over = lab, console, over
        self.shown: set[str] = set()

    def work(self) -> None:
        # Read without Python's buffer, which a thread that waits in it would keep locked at the end.
        terminal = sys.stdin.fileno()
        while not self.over.is_set():
            for question in questions(self.lab.notebook):
                if question.id not in self.shown:
                    self.shown.add(question.id)
                    self._show(question)
            ready, _, _ = select.select([terminal], [], [], LOOK_SECONDS)
            if ready:
                typed = os.read(terminal, 4096)
                if not typed:
                    return  # nobody sits there any more; other terminals still may answer
                for line in typed.decode(errors="replace").splitlines():
                    self._take(line.strip())

    def _show(self, question: Question) -> None:
        experiment = self.lab.notebook.experiment(question.experiment)
        self.console.print(coloured(changed_by(self.lab.notebook, experiment)))
        title = one_line(question.title or "")
        ask = f"May experiment {question.number} try this: {title}? Type y, or n and the reason."
        self.console.print(Text(ask, "bold"))

    def _take(self, line: str) -> None:
        if not line or not self.shown:
            return
        typed = _TYPED.fullmatch(line)
        if typed is None:
            self.console.print(Text("Type y, or n and the reason.", "bold"))
            return
        approved = typed["word"].lower().startswith("y")
        waiting = questions(self.lab.notebook)
        number = int(typed["number"]) if typed["number"] else None
        if number is None and waiting:
            number = waiting[0].number
        try:
            answer(
                self.lab.notebook,
                number,
                this_person(),
                approved=approved,
                reason=typed["reason"] or ("" if approved else "no reason was given"),
            )
        except LabError as error:
            self.console.print(Text(str(error), "bold"))
