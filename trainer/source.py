"""A train.py as a program, read and never run: its pieces, their syntax, and what tells it from another.

Nearly all of a candidate stands, word for word, in its head. So a source is read piece by piece, and
what a piece comes to is remembered: of a candidate, only what is new in it takes time.
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache, reduce
from itertools import accumulate
from operator import or_
from types import CodeType
from typing import NamedTuple, TypeVar

# What Python raises for a text that is no program: SyntaxError for most, ValueError for null bytes
# and lone surrogates, the others for expressions that are nested too deeply.
NO_PROGRAM = (SyntaxError, ValueError, RecursionError, MemoryError)

PIECES_REMEMBERED = 256  # a train.py has some forty

_BETWEEN = re.compile(r"\n\n\n(?=\S)")  # two empty lines, then something in the first column
_BETWEEN_LINES = 3
_FUTURES: int = reduce(
    or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # where statements stand in others

Node = TypeVar("Node", bound=ast.AST)


class Piece(NamedTuple):
    """A part of a source that is whole statements, and how much of the source comes before it."""

    text: str
    lines_before: int
    statements_before: int


def pieces(source: str) -> list[Piece]:
    """A source, cut where two empty lines stand between statements.

    Its statements are those of its pieces, one after the other: what is a program by itself leaves
    no text, bracket or line open at its end, and nothing that is one goes on with the block before
    it. Where a part is none (it was cut within a text), the whole source is one piece.
    """
    texts = _BETWEEN.split(source)
    counts = [_statements_count(text) for text in texts]
    if None in counts:
        return [Piece(source, 0, 0)]
    lines = accumulate((text.count("\n") + _BETWEEN_LINES for text in texts), initial=0)
    statements = accumulate((count or 0 for count in counts), initial=0)
    return [Piece(*each) for each in zip(texts, lines, statements, strict=False)]


@lru_cache(PIECES_REMEMBERED)
def _statements_count(text: str) -> int | None:
    """How many statements a text has that is a program by itself; None if it is none."""
    try:
        return len(syntax_tree(text).body)
    except NO_PROGRAM:
        return None


@lru_cache(maxsize=1)  # of one piece several questions are asked, one after the other
def syntax_tree(text: str) -> ast.Module:
    """The syntax tree of a source or a piece, the same object for all who ask: nobody may change it.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is no program.
    """
    return ast.parse(text)


def statements(tree: ast.Module) -> Iterator[tuple[int, ast.AST]]:
    """A module, its statements and what holds some (an except clause, a case), the outer ones first.

    Each with how many others it stands in. A tenth of the time that `ast.walk` takes, which looks
    into expressions too.
    """
    waiting: list[tuple[int, ast.AST]] = [(0, tree)]
    for depth, node in waiting:
        yield depth, node
        for block in _BLOCKS:
            waiting += [(depth + 1, each) for each in getattr(node, block, ())]


def compile_source(source: str) -> None:
    """See whether a source compiles.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it does not; the line is that in the source.
    """
    if not _compiles_by_pieces(source):
        compile(source, "train.py", "exec", dont_inherit=True)


def _compiles_by_pieces(source: str) -> bool:
    """Whether every piece compiles, and that is enough: no statement says how others are compiled."""
    first, *others = pieces(source)
    if "global" in source or any("__future__" in piece.text for piece in others):
        return False
    try:
        futures = _futures(first.text, 0)
        return all(_futures(piece.text, futures) == futures for piece in others)
    except NO_PROGRAM:
        return False


@lru_cache(PIECES_REMEMBERED)
def _futures(piece: str, given: int) -> int:
    """Compile a piece: what of `__future__` it imports and is ``given``, in the bits of compiler flags."""
    # Not to inherit: this module's own __future__ is none of train.py's business.
    code: CodeType = compile(piece, "train.py", "exec", flags=given, dont_inherit=True)
    return code.co_flags & _FUTURES


def source_sha(source: str) -> str:
    """SHA-256 of a source in UTF-8, in hex."""
    return hashlib.sha256(source.encode()).hexdigest()


@lru_cache(maxsize=64)  # of one candidate and one head it is asked for several times
def normalized_sha(source: str) -> str:
    """SHA-256, in hex, of what a source does: without comments, docstrings, blank lines, layout.

    Two sources with the same hash are one program, spelled differently: the syntax tree is written
    out again and that is hashed. Hashes are comparable under the same version of Python only.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the source is no program.
    """
    return source_sha("".join(_spelled(piece.text) for piece in pieces(source)).lstrip("\n"))


@lru_cache(PIECES_REMEMBERED)
def _spelled(piece: str) -> str:
    """What a piece does, written out again, after the newlines that set it off from what is before."""
    bare = _bare(syntax_tree(piece))
    return ast.unparse(ast.Module([ast.Pass(), *bare.body], [])).removeprefix("pass")


def _bare(node: Node) -> Node:
    """A node without statements that do nothing; a copy of it, and of what holds statements in it."""
    blocks = {name: getattr(node, name) for name in _BLOCKS if hasattr(node, name)}
    if not blocks:
        return node
    if "body" in blocks:
        blocks["body"] = [each for each in blocks["body"] if not _does_nothing(each)]
    bare = {name: [_bare(each) for each in block] for name, block in blocks.items()}
    return ast.copy_location(type(node)(**dict(ast.iter_fields(node)) | bare), node)


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, another bare constant, or ``pass``."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
