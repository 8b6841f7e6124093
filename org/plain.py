"""Texts of models and trials, made fit to be shown: they are data, neither markup nor control codes.

Put what comes out of here into a rich `Text`, which reads no markup.
"""

from __future__ import annotations

import re

# What a terminal would obey: colours and cursor moves (CSI), titles and links (OSC), and the rest.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Control characters, and those that hide or turn around the text beside them.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def plain(text: str) -> str:
    """A text as a person should see it: no escape sequence, no control character but newlines."""
    text = _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text))
    return _UNSEEN.sub("", text.expandtabs(4))


def one_line(text: str) -> str:
    """A text in a single line, as a cell of a table needs it."""
    return " ".join(plain(text).split())
