"""The commands as a person types them."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from org.cli import main
from org.config import schema_text
from org.notebook import Notebook
from tests.notebooks import Night

REPOSITORY = Path(__file__).parent.parent

# Libraries that take long to import; what --help does not need, it must not wait for.
HEAVY = ("torch", "langgraph", "langchain_core", "openai", "numpy", "rich", "sqlite_utils")


def org(*words: str):
    return CliRunner().invoke(main, list(words))


def test_help_lists_every_command_with_an_example():
    told = org("--help").output
    for command in (
        "run",
        "check",
        "status",
        "say",
        "pause",
        "resume",
        "stop",
        "approve",
        "reject",
        "notebook",
        "replay",
        "diff",
        "graph",
        "schema",
        "init",
    ):
        assert f"\n  {command} " in told
    assert "python -m org replay 3" in told


def test_help_imports_no_heavy_library():
    question = f"import sys, org.cli; print([n for n in {HEAVY} if n in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words", [["run"], ["notebook"], ["replay"], ["diff"], ["graph"]], ids=lambda words: words[0]
)
def test_a_missing_org_yaml_is_one_clear_line(words, tmp_path):
    told = org(*words, "--config", str(tmp_path / "org.yaml"))
    assert told.exit_code == 2
    assert "no such file" in told.output
    assert len(told.output.strip().splitlines()) == 1


def test_a_lab_without_a_notebook_is_one_clear_line(tmp_path):
    told = org("notebook", "--lab", str(tmp_path))
    assert told.exit_code == 2
    assert "no notebook" in told.output


@pytest.mark.parametrize("words", ["notebook show 1", "notebook search wider", "notebook list"])
def test_a_lab_may_be_named_before_a_command_of_the_notebook_or_after_it(words, tmp_path):
    book = Notebook(tmp_path / "notebook.sqlite")
    night = Night(book)
    night.measure_baseline()
    night.propose(night.begin(), "A wider layer")
    book.close()
    first, *rest = words.split()
    where = ("--lab", str(tmp_path))
    before, after = org(first, *where, *rest), org(first, *rest, *where)
    assert (before.exit_code, after.exit_code) == (0, 0)
    assert before.output == after.output
    assert "A wider layer" in after.output


def test_a_command_of_the_notebook_has_its_help_without_a_lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Everything about experiment NUMBER" in org("notebook", "show", "--help").output


@pytest.mark.parametrize("command", ["status", "notebook", "replay"])
def test_a_damaged_notebook_is_one_clear_line(command, tmp_path):
    (tmp_path / "notebook.sqlite").write_bytes(b"SQLite format 3\0" + b"\7" * 5000)
    told = org(command, "--lab", str(tmp_path))
    assert (told.exit_code, len(told.output.strip().splitlines())) == (2, 1)
    assert f"python -m org check --lab {tmp_path} says what is wrong" in told.output


def test_a_mistyped_command_is_answered_with_the_nearest():
    told = org("noteboko")
    assert told.exit_code == 2
    assert "notebook" in told.output


def test_schema_prints_the_schema_of_org_yaml():
    assert org("schema").output == schema_text()


def test_init_writes_an_organization_and_says_how_to_run_it(tmp_path):
    folder = tmp_path / "mine"
    told = org("init", str(folder))
    assert told.exit_code == 0
    assert (folder / "org.yaml").exists()
    assert f"--config {folder / 'org.yaml'}" in told.output
