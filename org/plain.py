"""Texts of models and trials, made fit for a terminal: they are data, neither markup nor control codes.

Put what comes out of here into a rich `Text`, which reads no markup.
"""

from __future__ import annotations

from roles.quoting import readable


def plain(text: str) -> str:
    """A text as a person should see it: no escape sequence, no control character but newlines."""
    return readable(text).expandtabs(4)


def one_line(text: str) -> str:
    """A text in a single line, as a cell of a table needs it."""
    return " ".join(plain(text).split())
