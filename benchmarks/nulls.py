"""Edits that change nothing: a local name is renamed, or two independent lines change places."""

from __future__ import annotations

import ast
import itertools
import random
import re
from collections.abc import Iterator

from trainer.patch import Edit

CONSTANT = re.compile(r"[A-Z][A-Z0-9_]* = [\d.e-]+")


def null_edit(source: str, chance: random.Random) -> tuple[Edit, str]:
    """An edit that leaves the program as it is, and what it does, in words.

    Raises:
        ValueError: the source has no function with a local name and no two adjacent constants.
    """
    found = [*_renames(source), *_swaps(source)]
    if not found:
        raise ValueError("there is nothing to rename and nothing to swap")
    edit, words = chance.choice(found)
    number = chance.randrange(10**6)
    return (
        Edit(search=edit.search, replace=edit.replace.replace("@", str(number))),
        words.replace("@", str(number)),
    )


def _renames(source: str) -> Iterator[tuple[Edit, str]]:
    """Every local name of every function that is only written there; @ stands for a number."""
    lines = source.splitlines(keepends=True)
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        body = "".join(lines[function.lineno - 1 : function.end_lineno])
        if "@" in body or source.count(body) != 1:
            continue
        for name in sorted(_locals(function)):
            # Whole words that are no attribute, no keyword and in no string.
            if re.search(rf"[\"'{{].*\b{name}\b|\.{name}\b|\b{name}=", body):
                continue
            renamed = re.sub(rf"\b{name}\b", f"{name}_@", body)
            yield Edit(search=body, replace=renamed), f"Rename {name} in {function.name} (@)"


def _locals(function: ast.FunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    inner = any(isinstance(n, ast.FunctionDef | ast.Lambda | ast.ClassDef) for n in nodes[1:])
    outer = {n for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for n in node.names}
    if inner or outer:
        return set()
    stored = [n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    # Nor the function's own name, which is the same word.
    return {node.id for node in stored if len(node.id) > 1} - given - {function.name}


def _swaps(source: str) -> Iterator[tuple[Edit, str]]:
    """Every two adjacent lines that set a constant to a number."""
    lines = source.splitlines(keepends=True)
    for one, two in itertools.pairwise(lines):
        if CONSTANT.match(one) and CONSTANT.match(two) and source.count(one + two) == 1:
            names = [line.partition(" ")[0] for line in (one, two)]
            yield Edit(search=one + two, replace=two + one), f"{names[1]} before {names[0]} (@)"
