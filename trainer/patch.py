"""A patch: search/replace edits to train.py and a one-line summary.

A search is a run of whole lines that must stand in the source exactly once. Nothing is guessed:
what does not fit is refused, with a reason written for the engineer who has to mend it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from trainer.source import NO_PROGRAM, compile_source, normalized_sha

SUMMARY_CHARACTERS = 200

_SEARCH = re.compile(r"<{5,9} ?SEARCH:?", re.IGNORECASE)
_DIVIDER = re.compile(r"={7}")
_REPLACE = re.compile(r">{5,9} ?REPLACE:?", re.IGNORECASE)
_SHAPE = (
    "A block is '<<<<<<< SEARCH', the old lines, '=======', the new lines, '>>>>>>> REPLACE', "
    "each mark once, alone on its line, from its first column."
)
_SUMMARY = re.compile(r"[\s*#_>-]*SUMMARY[*_]*\s*:[*_]*\s*(\S.*)", re.IGNORECASE)
_NO_SUMMARY = re.compile(
    r"\s*(```.*|~~~.*|[*#`\s]*(file:\s*)?[\w./\\-]+\.py[*`:\s]*)?", re.IGNORECASE
)


class PatchError(ValueError):
    """A patch that cannot be used; the message says exactly why, to whoever wrote it."""


class Edit(BaseModel):
    """A run of whole lines, and the lines that take its place ("" for none)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: str
    replace: str


class Patch(BaseModel):
    """Edits, all of them to the same original source, and a one-line summary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edits: tuple[Edit, ...]
    summary: str = ""

    @property
    def lines_added(self) -> int:
        """Lines of code that it adds, less those that it removes; comments are no code."""
        return sum(_code_lines(edit.replace) - _code_lines(edit.search) for edit in self.edits)


def _code_lines(text: str) -> int:
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def parse_patch(text: str) -> Patch:
    """Read the SEARCH/REPLACE blocks out of an engineer's reply.

    A block is the lines ``<<<<<<< SEARCH``, old lines, ``=======``, new lines and
    ``>>>>>>> REPLACE``; no new lines means that the old ones go. Code fences and a file name
    around a block are passed over, CRLF is read as a newline. The summary is what follows
    ``SUMMARY:`` outside of the blocks or, where no line says that, the first line that is neither
    in a block nor a fence nor a file name; it is cut to 200 characters.

    Raises:
        PatchError: there is no block, or one that is not well-formed.
    """
    edits: list[Edit] = []
    prose: list[str] = []
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    for number, line in lines:
        if _SEARCH.fullmatch(line.rstrip()):
            search = _lines_until(_DIVIDER, lines, number)
            edits.append(Edit(search=search, replace=_lines_until(_REPLACE, lines, number)))
        elif _is_mark(line):
            raise PatchError(
                f"Line {number} of your reply, {line.rstrip()!r}, stands outside of a block. {_SHAPE}"
            )
        else:
            prose.append(line)
    if not edits:
        raise PatchError(f"No SEARCH/REPLACE block found in your reply. {_SHAPE}")
    return Patch(edits=tuple(edits), summary=_summary(prose))


def apply_patch(patch: Patch, source: str) -> str:
    """Apply a patch to a source whose lines end in a newline character; the result compiles.

    Every edit is located in the original source, then all are applied at once, so that their
    order does not matter and none can match what another one has put there.

    Raises:
        PatchError: a search matches nowhere or several times, two edits overlap, nothing
            changes, or the result does not compile.
    """
    if not patch.edits:
        raise PatchError(f"The patch is empty. {_SHAPE}")
    lines = _lines(source)
    places = sorted(
        (_locate(edit, lines, number), number, edit)
        for number, edit in enumerate(patch.edits, start=1)
    )
    for (place, one, edit), (begin, other, _) in pairwise(places):
        if begin < place + len(_lines(edit.search)):
            raise PatchError(
                f"SEARCH blocks {one} and {other} overlap: both contain line {begin + 1} of the "
                "file. Make one block of the two."
            )
    for place, _, edit in reversed(places):
        lines[place : place + len(_lines(edit.search))] = _lines(edit.replace)
    result = "\n".join(lines) + ("\n" if source.endswith("\n") else "")
    if result == source:
        raise PatchError("The patch leaves the file as it is: every REPLACE equals its SEARCH.")
    _compile(result)
    return result


def blocks(patch: Patch) -> str:
    """The edits of a patch as an engineer writes them."""
    return "\n\n".join(
        f"<<<<<<< SEARCH\n{_text(_lines(edit.search))}=======\n"
        f"{_text(_lines(edit.replace))}>>>>>>> REPLACE"
        for edit in patch.edits
    )


def rewriting(old: str, new: str, summary: str) -> Patch:
    """The patch that makes one version of train.py of another: one edit, no larger than it must be.

    Raises:
        PatchError: the two are equal.
    """
    if old == new:
        raise PatchError("The patch leaves the file as it is.")
    before, after = _lines(old), _lines(new)
    shorter = min(len(before), len(after))
    first = _alike(before, after)
    last = min(_alike(before[::-1], after[::-1]), shorter - first)
    while (first or last) and not _stands_once(before[first : len(before) - last], before):
        first, last = max(first - 1, 0), max(last - 1, 0)
    search, replace = before[first : len(before) - last], after[first : len(after) - last]
    return Patch(edits=(Edit(search=_text(search), replace=_text(replace)),), summary=summary)


def _alike(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _stands_once(search: list[str], lines: list[str]) -> bool:
    return len(_places(search, lines)) == 1 and bool("".join(search).strip())


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def has_its_places(patch: Patch, source: str) -> bool:
    """Whether every search of a patch stands in a source exactly once.

    For who need not know why not: to find the lines that come nearest takes a hundred times as long.
    """
    lines = _lines(source)
    return all(len(_places(_lines(edit.search), lines)) == 1 for edit in patch.edits)


@lru_cache(maxsize=4)  # of a candidate it is screened, and reviewed
def diff(old: str, new: str) -> str:
    """The unified diff of two versions of train.py, as ``git apply`` reads it; "" if equal."""
    lines = difflib.unified_diff(
        re.findall(r".*\n|.+", old), re.findall(r".*\n|.+", new), "a/train.py", "b/train.py"
    )
    unfinished = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else line + unfinished for line in lines)


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _is_mark(line: str) -> bool:
    return any(mark.fullmatch(line.rstrip()) for mark in (_SEARCH, _DIVIDER, _REPLACE))


def _lines_until(mark: re.Pattern[str], lines: Iterator[tuple[int, str]], begun: int) -> str:
    """The lines up to a mark, each with its newline; ``begun`` is where the block began."""
    part: list[str] = []
    for number, line in lines:
        if mark.fullmatch(line.rstrip()):
            return "".join(part)
        if _is_mark(line):
            raise PatchError(
                f"The block that begins at line {begun} of your reply is broken by "
                f"{line.rstrip()!r} at line {number}. {_SHAPE}"
            )
        part.append(f"{line}\n")
    raise PatchError(
        f"The block that begins at line {begun} of your reply is not finished: your reply ends "
        f"before its {'=======' if mark is _DIVIDER else '>>>>>>> REPLACE'!r}."
    )


def _summary(prose: list[str]) -> str:
    said = (match[1] for line in prose if (match := _SUMMARY.fullmatch(line)))
    other = (line for line in prose if not _NO_SUMMARY.fullmatch(line))
    summary = " ".join(next(said, next(other, "")).split())
    if len(summary) <= SUMMARY_CHARACTERS:
        return summary
    return summary[: SUMMARY_CHARACTERS - 1] + "…"


def _locate(edit: Edit, lines: list[str], number: int) -> int:
    """The index of the line at which an edit's search begins."""
    search = _lines(edit.search)
    found = _places(search, lines)
    if not edit.search.strip():
        raise PatchError(
            f"SEARCH block {number} is empty. To insert, search for a line beside the place and "
            "repeat it in REPLACE."
        )
    if not found:
        raise PatchError(_nowhere(search, lines, number))
    if len(found) > 1:
        where = ", ".join(str(at + 1) for at in found)
        raise PatchError(
            f"SEARCH block {number} matches {len(found)} times, at lines {where} of the file. Add "
            "neighbouring lines until it matches once."
        )
    return found[0]


def _places(search: list[str], lines: list[str]) -> list[int]:
    """The indices of all lines at which these lines begin."""
    count = len(search)
    return [at for at in range(len(lines) - count + 1) if lines[at : at + count] == search]


def _nowhere(search: list[str], lines: list[str], number: int) -> str:
    """Say that a search matches nothing, and show the lines that come nearest."""
    said = (
        f"SEARCH block {number} matches nothing in the file. It must repeat whole lines exactly, "
        "with their indentation."
    )
    nearest = _nearest(search, lines)
    if nearest is None:
        return f"{said} No run of lines comes near it."
    theirs = lines[nearest : nearest + len(search)]
    differs = [line != wanted for line, wanted in zip(theirs, search, strict=False)]
    shown = "\n".join(
        f"{'!' if differs[at] else ' '} {nearest + at + 1:4d} | {line}"
        for at, line in enumerate(theirs)
        if any(differs[max(0, at - 2) : at + 3])
    )
    return f"{said} The nearest lines of the file ('!' marks those that differ):\n{shown}"


def _nearest(search: list[str], lines: list[str]) -> int | None:
    """Where the run of lines begins that resembles a search most; None if none does."""
    windows = ["\n".join(lines[at : at + len(search)]) for at in range(len(lines))]
    near = difflib.get_close_matches("\n".join(search), windows, n=1, cutoff=0.5)
    return windows.index(near[0]) if near else None


def _compile(source: str) -> None:
    try:
        compile_source(source)
        normalized_sha(source)  # so that no patch gets by that could not be told from another
    except SyntaxError as error:
        where = f", line {error.lineno}: {(error.text or '').strip()[:200]}" if error.lineno else ""
        raise PatchError(
            f"With the patch, train.py does not compile: {error.msg}{where}"
        ) from error
    except NO_PROGRAM as error:
        said = str(error) or type(error).__name__
        raise PatchError(f"With the patch, train.py does not compile: {said}") from error
