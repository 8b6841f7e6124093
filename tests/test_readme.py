"""The README says what is there: every module in its tree, every command and file that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from org.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TREE = README.partition("## The tree")[2].split("```")[1]


def part(folder: str) -> str:
    """What the tree has below one folder."""
    return re.split(r"\n(?=\S)", TREE.partition(f"\n{folder}/ ")[2])[0]


@pytest.mark.parametrize("folder", ["org", "roles", "trainer"])
def test_the_tree_has_every_module_of_a_folder_and_no_other(folder: str) -> None:
    there = {path.name for path in (ROOT / folder).rglob("[!_]*.py")}
    assert set(re.findall(r"(?<![/\w])\w+\.py", part(folder))) == there


def test_the_tree_has_every_folder() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {name for name in folders if f"\n{name}/ " in TREE} == folders
    for folder in ("org", "roles", "trainer"):
        within = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
        assert set(re.findall(r"\n  (\w+)/ ", part(folder))) == within


def test_every_command_that_is_named_is_there() -> None:
    named = set(re.findall(r"python\s+-m\s+org\s+([a-z]+)", README))
    assert named <= set(main.commands)
    assert {"run", "check", "status", "notebook", "replay", "diff", "noise", "init"} <= named


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:org|roles|trainer|benchmarks|tests)/[\w./]+\.\w+)`", README)
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = re.findall(r"python -m\s+(benchmarks\.\w+)", README)
    assert modules
    assert [each for each in modules if not (ROOT / f"{each.replace('.', '/')}.py").exists()] == []


def test_it_is_read_in_about_ten_minutes() -> None:
    without_chart = re.sub(r"<!-- chart.*?end of chart -->", "", README, flags=re.DOTALL)
    assert len(without_chart.replace(TREE, "").split()) <= 2_900
