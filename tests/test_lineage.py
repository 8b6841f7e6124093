"""The lineage: what is kept is there byte for byte, whatever stood around it or was killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from org.lineage import Lineage, LineageError


def keep(lineage: Lineage, source: str, message: str, experiment_id: str) -> str:
    """Write a version on top of the head and move the branch to it."""
    commit = lineage.write(source, message, experiment_id=experiment_id, parent=lineage.head())
    lineage.publish(commit)
    return commit


def git(folder: Path, *arguments: str) -> str:
    """What a person sees who looks with git."""
    done = subprocess.run(
        ("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_kept_versions_are_told_in_the_order_in_which_they_were_kept(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "lineage", "default")
    assert (lineage.head(), lineage.log()) == (None, ())
    first = keep(lineage, "a = 1\n", "Baseline", "baseline")
    second = keep(lineage, "a = 2\n", "Double a\n\nEvidence: −0.01 ± 0.002", "e7")
    assert lineage.head() == second
    told = [(kept.commit, kept.experiment_id, kept.message) for kept in lineage.log()]
    assert told == [
        (first, "baseline", "Baseline"),
        (second, "e7", "Double a\n\nEvidence: −0.01 ± 0.002"),
    ]


@pytest.mark.parametrize(
    "source", ["a = 1\r\nb = 2\r\n", "a = 1", "# −0.5 σ\n\n\n", "a = '$Id$'  \n\t\n", "a\rb\n", ""]
)
def test_a_source_comes_back_byte_for_byte(tmp_path: Path, source: str) -> None:
    lineage = Lineage(tmp_path, "default")
    assert lineage.sources_at([keep(lineage, source, "Change", "e1")]) == [source]


@pytest.mark.parametrize(
    ("message", "kept_as"),
    [
        ("Title\n\nExperiment: e99", "Title\n\nExperiment: e99"),
        ("Title\n\n---\n# no\n\nSigned-off-by: me\n", "Title\n\n---\n# no\n\nSigned-off-by: me"),
        ("Title\0 and \ud800 what\x1b[2J a model\n\n\n\n", "Title and  what a model"),
    ],
)
def test_no_message_can_pass_for_another_experiment_or_command_a_terminal(
    tmp_path: Path, message: str, kept_as: str
) -> None:
    lineage = Lineage(tmp_path, "default")
    keep(lineage, "a = 1\n", message, "e1")
    (kept,) = lineage.log()
    assert kept.experiment_id == "e1"
    assert kept.message == kept_as
    assert git(tmp_path, "log", "--format=%(trailers:key=Experiment,valueonly)") == "e1"


def test_git_itself_shows_the_branch_with_its_changes(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path, "default")
    keep(lineage, "a = 1\n", "Baseline", "baseline")
    keep(lineage, "a = 2\n", "Double a", "e1")
    assert git(tmp_path, "log", "--format=%s") == "Double a\nBaseline"
    assert git(tmp_path, "show", "lab/default:train.py") == "a = 2"
    assert "+a = 2" in git(tmp_path, "diff", "lab/default~1", "lab/default")
    assert git(tmp_path, "fsck", "--strict") == ""


def test_a_commit_is_not_on_the_branch_until_it_is_published(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path, "default")
    baseline = keep(lineage, "a = 1\n", "Baseline", "baseline")
    commit = lineage.write("a = 2\n", "Double a", experiment_id="e1", parent=baseline)
    assert lineage.head() == baseline
    assert lineage.sources_at([commit]) == ["a = 2\n"]
    for _ in range(2):
        lineage.publish(commit)
        assert [kept.experiment_id for kept in lineage.log()] == ["baseline", "e1"]


def test_an_unknown_commit_is_refused_and_the_branch_stays(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path, "default")
    baseline = keep(lineage, "a = 1\n", "Baseline", "baseline")
    with pytest.raises(LineageError):
        lineage.publish("1" * 40)
    assert lineage.sources_at(["1" * 40, baseline]) == [None, "a = 1\n"]
    assert lineage.head() == baseline


@pytest.mark.parametrize(
    ("run", "branch"),
    [("tuesday", "lab/tuesday"), ("my lab..x.lock", "lab/my-lab-x-lock"), ("", "lab/run")],
)
def test_any_name_of_a_run_makes_a_branch(tmp_path: Path, run: str, branch: str) -> None:
    lineage = Lineage(tmp_path, run)
    commit = keep(lineage, "a = 1\n", "Baseline", "baseline")
    assert git(tmp_path, "rev-parse", branch) == commit


def test_a_lab_that_is_moved_keeps_its_branch(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "monday", "monday")
    baseline = keep(lineage, "a = 1\n", "Baseline", "baseline")
    lineage.folder.rename(tmp_path / "tuesday")
    assert Lineage(tmp_path / "tuesday", "tuesday", read_only=True).head() == baseline
    moved = Lineage(tmp_path / "tuesday", "tuesday")
    second = keep(moved, "a = 2\n", "Double a", "e1")
    assert (moved.branch, git(moved.folder, "rev-parse", "HEAD")) == ("lab/monday", second)
    assert [kept.commit for kept in moved.log()] == [baseline, second]


def test_a_repository_whose_branch_was_not_named_yet_is_named(tmp_path: Path) -> None:
    subprocess.run(("git", "init", "-q", "--bare", "--template=", str(tmp_path)), check=True)
    assert Lineage(tmp_path, "monday").branch == "lab/monday"
    assert git(tmp_path, "symbolic-ref", "HEAD") == "refs/heads/lab/monday"


def test_a_checkout_around_the_lab_and_the_users_git_settings_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    home.mkdir()
    hooks = home / "hooks"
    hooks.mkdir()
    for hook in ("reference-transaction", "post-commit", "post-index-change"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\nexit 1\n")
        (hooks / hook).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\nautocrlf = true\nhooksPath = {hooks}\n[commit]\ngpgSign = true\n"
        "[init]\ndefaultBranch = other\n[log]\nshowSignature = true\n[user]\nname = Someone\n"
    )
    monkeypatch.setenv("HOME", str(home))
    subprocess.run(("git", "init", "-q", "--template=", str(checkout)), check=True)
    # As in a hook of that checkout.
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout / ".git/index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout))
    before = sorted(path.relative_to(checkout) for path in checkout.rglob("*"))
    monkeypatch.chdir(checkout)

    lab = checkout / "labs" / "default"
    lineage = Lineage(Path("labs/default/lineage"), "default")
    commit = keep(lineage, "a = 1\r\n", "Baseline", "baseline")

    assert lineage.sources_at([commit]) == ["a = 1\r\n"]
    assert not (tmp_path / "hooked").exists()
    after = [path for path in checkout.rglob("*") if not path.is_relative_to(lab.parent)]
    assert sorted(path.relative_to(checkout) for path in after) == before
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert git(lab / "lineage", "log", "--format=%an %G?", "lab/default") == "autoresearch-org N"
    assert git(lab / "lineage", "remote") == ""


def test_git_that_was_killed_in_the_middle_is_cleaned_up_after(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path, "default")
    baseline = keep(lineage, "a = 1\n", "Baseline", "baseline")
    for left in ("HEAD.lock", "config.lock", "refs/heads/lab/default.lock"):
        (tmp_path / left).write_text("")
    again = Lineage(tmp_path, "default")
    assert again.head() == baseline
    (tmp_path / "refs/heads/lab/default.lock").write_text("")
    second = keep(again, "a = 2\n", "Double a", "e1")
    assert again.head() == second


KEEPER = """
import sys
from pathlib import Path
from org.lineage import Lineage
number = 0
while True:
    lineage = Lineage(Path(sys.argv[1]), "default")
    number = max([number, *(int(kept.experiment_id) for kept in lineage.log())]) + 1
    print(number, flush=True)
    lineage.publish(
        lineage.write(f"a = {number}", "", experiment_id=str(number), parent=lineage.head())
    )
"""


def test_kill_9_at_any_moment_leaves_a_whole_line_of_versions(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    for _ in range(6):
        keeper = subprocess.Popen(
            (sys.executable, "-c", textwrap.dedent(KEEPER), str(tmp_path)),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        for _ in range(moments.randint(1, 3)):
            assert keeper.stdout.readline().strip()
        # The moment of the kill within a step is what is to vary: no outcome depends on it.
        with pytest.raises(subprocess.TimeoutExpired):
            keeper.wait(moments.uniform(0.0, 0.05))
        # Sometimes with its git, sometimes leaving git behind.
        whole_session = moments.random() < 0.5
        (os.killpg if whole_session else os.kill)(keeper.pid, signal.SIGKILL)
        keeper.wait()
        keeper.stdout.close()
        lineage = Lineage(tmp_path, "default")
        told = [int(kept.experiment_id) for kept in lineage.log()]
        assert told == list(range(1, len(told) + 1))
        sources = lineage.sources_at([kept.commit for kept in lineage.log()])
        assert sources == [f"a = {number}" for number in told]
    commit = keep(lineage, "a = 0", "At last", "last")
    assert lineage.head() == commit


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LineageError, match="file") as caught:
        Lineage(tmp_path / "file" / "lineage", "default")
    assert "\n" not in str(caught.value)


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LineageError, match="git is not installed"):
        Lineage(tmp_path / "lineage", "default")
