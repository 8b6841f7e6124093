"""What the packages import is asked for in pyproject.toml, and CONTRIBUTING.md says what it is for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("org", "roles", "trainer")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {re.split(r"[<=>]", one)[0].lower() for one in PROJECT["dependencies"]}
WITH_ANOTHER = {"pydantic_core"}  # pydantic asks for its exact version


def imported() -> set[str]:
    """The packages that the modules of this project import, its own and Python's left out."""
    found = set[str]()
    for path in (path for folder in OURS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found - {*OURS, *sys.stdlib_module_names, *WITH_ANOTHER}


def test_what_is_imported_is_asked_for_by_name() -> None:
    made_by = packages_distributions()  # of a package, the names that it is installed by
    names = {each: {name.lower() for name in made_by.get(each, ())} for each in imported()}
    assert [each for each in names if not names[each] & DECLARED] == []


def test_what_is_asked_for_has_its_reason() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| package | for |")[2]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} >= DECLARED
