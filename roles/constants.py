"""The tunable lines of a train.py: finding them, reading their values, writing other ones."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Constant:
    """One top-level ``NAME = literal``, or a literal per device: ``{"cpu": 4, "cuda": 9}[DEVICE]``.

    ``statement`` is the line (or lines) word for word, comment included; ``spans`` say where in
    its UTF-8 bytes the literals of ``values`` stand.
    """

    name: str
    statement: str
    spans: tuple[tuple[int, int], ...]
    values: tuple[Value, ...]

    @property
    def meaning(self) -> str:
        """What the author wrote beside it."""
        return self.statement.partition("#")[2].strip()

    def rewritten(self, values: tuple[Value, ...]) -> str:
        """The same statement with other values, everything else left as it stands."""
        text = self.statement.encode()
        for (start, end), value in reversed(list(zip(self.spans, values, strict=True))):
            text = text[:start] + literal(value).encode() + text[end:]
        return text.decode()


def literal(value: Value) -> str:
    """A value as a person would type it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    return repr(value)


def spoken(values: tuple[Value, ...]) -> str:
    """Values in a sentence: one, or one per device with a slash between."""
    return "/".join(literal(value) for value in values)


def find_constants(source: str, device: str | None = None) -> dict[str, Constant]:
    """The constants of a source by name, in its order.

    Where there is a literal per device, only that of ``device`` ("cpu", "cuda") is read and
    rewritten, or all of them if None: what was measured on one device is no reason to change another.

    Left out: names that nothing reads, names assigned more than once, and statements whose text
    stands there twice, so that an edit could not say which is meant. A source that does not parse
    has none.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    written = Counter(name.id for name in names if isinstance(name.ctx, ast.Store))
    lines = source.splitlines()
    found = (_read(node, lines, device) for node in tree.body if isinstance(node, ast.Assign))
    return {
        constant.name: constant
        for constant in found
        if constant is not None
        and constant.name in read
        and written[constant.name] == 1
        and stands_once(constant.statement, source)
    }


def stands_once(lines: str, source: str) -> bool:
    """Whether a source has these whole lines exactly once, as a SEARCH block must."""
    return f"\n{source}\n".count(f"\n{lines}\n") == 1


def _read(node: ast.Assign, lines: list[str], device: str | None) -> Constant | None:
    target = node.targets[0]
    if len(node.targets) != 1 or not isinstance(target, ast.Name) or not target.id.isupper():
        return None
    literals = [node.value]
    if isinstance(node.value, ast.Subscript) and isinstance(node.value.value, ast.Dict):
        literals = _per_device(node.value.value, device)
    values = [_value(expression) for expression in literals]
    if not values or any(isinstance(value, _NotLiteral) for value in values):
        return None
    statement = lines[node.lineno - 1 : node.end_lineno]
    return Constant(
        name=target.id,
        statement="\n".join(statement),
        spans=tuple(_span(expression, node.lineno, statement) for expression in literals),
        values=tuple(value for value in values if not isinstance(value, _NotLiteral)),
    )


def _per_device(choice: ast.Dict, device: str | None) -> list[ast.expr]:
    named = [key.value if isinstance(key, ast.Constant) else None for key in choice.keys]
    return [choice.values[named.index(device)]] if device and device in named else choice.values


class _NotLiteral:
    pass


def _value(node: ast.expr) -> Value | _NotLiteral:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(
            left=ast.Constant(value=int() as base),
            op=ast.Pow(),
            right=ast.Constant(value=int() as n),
        ):
            return int(base**n)
    return _NotLiteral()


def _span(node: ast.expr, first_line: int, statement: list[str]) -> tuple[int, int]:
    """Where an expression stands in the bytes of its statement (ast counts bytes, too)."""
    starts = [0]
    for line in statement:
        starts.append(starts[-1] + len(line.encode()) + 1)
    last = node.end_lineno or node.lineno
    return (
        starts[node.lineno - first_line] + node.col_offset,
        starts[last - first_line] + (node.end_col_offset or 0),
    )
