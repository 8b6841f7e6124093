"""The kept versions of train.py as git commits, in a repository of the lab's own.

There is no work tree and no index. A commit is written as an object that nothing points to, then
the notebook decides, then the branch moves to it in one step: a kill in between loses nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from org.plain import plain
from roles.records import Record

FILE_NAME = "train.py"

# What the last paragraph of every message begins with, the experiment's id after it.
TRAILER = "\n\nExperiment: "

# No hooks, and everything on the disk before the branch moves to it.
OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsync=all")


class LineageError(Exception):
    """The lineage cannot do what was asked; the message says why in one line."""


class Kept(Record):
    """One kept version: its commit, the experiment that made it, and what was said of it."""

    commit: str
    experiment_id: str
    message: str


class Lineage:
    """The branch ``lab/<run>`` of a bare git repository in ``folder``, made if it is not there.

    Neither another repository that the folder lies in nor any of the user's git settings is read
    or touched. What a branch may not be called is replaced by hyphens in its name; one that is there
    keeps its name, also in a lab that was moved, renamed or copied. One that is ``read_only`` is
    not made, and its methods that read are all that may be used.

    Raises:
        LineageError: git is missing, or no repository can be made there.
    """

    def __init__(self, folder: Path, run: str, *, read_only: bool = False) -> None:
        self.folder = folder.absolute()
        self.branch = self._known_branch() or _branch(run)
        self._ref = f"refs/heads/{self.branch}"
        if read_only:
            return
        with self._alone() as lock:
            self._git("init", "--quiet", "--bare", "--template=", lock=lock)
            self._git("symbolic-ref", "HEAD", self._ref, lock=lock)

    def write(
        self,
        source: str,
        message: str,
        *,
        experiment_id: str,
        parent: str | None,
    ) -> str:
        """Write a commit that no branch points to yet, and return its SHA.

        Raises:
            LineageError: git refuses, or the repository is gone.
        """
        body = plain(message).strip() + TRAILER + experiment_id + "\n"
        blob = self._git("hash-object", "-w", "--stdin", given=source.encode()).strip()
        entry = b"100644 blob " + blob + b"\t" + FILE_NAME.encode() + b"\n"
        tree = self._git("mktree", given=entry).decode().strip()
        parents = ("-p", parent) if parent else ()
        commit = self._git(
            *("commit-tree", tree, *parents, "-F", "-"), given=body.encode(errors="replace")
        )
        return commit.decode().strip()

    def publish(self, commit: str) -> None:
        """Move the branch to a commit, in one step; nothing happens where it is there already.

        Raises:
            LineageError: there is no such commit.
        """
        if commit != self.head():
            with self._alone() as lock:
                self._git("update-ref", self._ref, commit, lock=lock)

    def head(self) -> str | None:
        """The commit of the branch, or None before the first."""
        known = self._git("for-each-ref", "--format=%(objectname)", self._ref)
        return known.decode().strip() or None

    def sources_at(self, commits: Sequence[str]) -> list[str | None]:
        """The source of each commit, byte for byte, None where there is no such commit.

        One process for all of them.
        """
        asked = "".join(f"{commit}:{FILE_NAME}\n" for commit in commits).encode()
        answer, sources = self._git("cat-file", "--batch", given=asked), list[str | None]()
        at = 0
        while at < len(answer):
            end = answer.index(b"\n", at)
            head, at = answer[at:end], end + 1
            if head.endswith(b" missing"):
                sources.append(None)
                continue
            size = int(head.rpartition(b" ")[2])
            sources.append(answer[at : at + size].decode())
            at += size + 1
        return sources

    def log(self) -> tuple[Kept, ...]:
        """The versions on the branch, the oldest first."""
        if self.head() is None:
            return ()
        text = self._git("log", "--reverse", "--format=%H%x00%B%x00", self._ref).decode()
        fields = iter(text.split("\0")[:-1])
        return tuple(
            _kept(commit.strip(), body) for commit, body in zip(fields, fields, strict=True)
        )

    def _known_branch(self) -> str | None:
        """The branch that HEAD names, once it is one of ours."""
        try:
            head = (self.folder / "HEAD").read_text(encoding="utf-8")
        except OSError:
            return None
        known = re.fullmatch(r"ref: refs/heads/(lab/\S+)\n", head)
        return known[1] if known else None

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the repository for oneself, and hand out the lock.

        Every git that moves something holds the lock too, also when the process that started it is
        killed. So whoever has the lock knows that a lock file of git's own belongs to a dead one.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "alone").open("w")
        except OSError as error:
            raise LineageError(f"cannot write in {self.folder}: {error.strerror}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for locked in ("HEAD", "config", self._ref):
                Path(self.folder, f"{locked}.lock").unlink(missing_ok=True)
            yield file.fileno()

    def _git(
        self,
        *arguments: str,
        given: bytes = b"",
        lock: int | None = None,
    ) -> bytes:
        try:
            done = subprocess.run(
                ("git", *OPTIONS, *arguments),
                input=given,
                capture_output=True,
                cwd=self.folder,
                env=self._environment(),
                pass_fds=() if lock is None else (lock,),
            )
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise LineageError(f"there is no repository in {self.folder}") from None
            raise LineageError("git is not installed; it keeps the versions of train.py") from None
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())
            raise LineageError(f"git {arguments[0]} in {self.folder}: {reason}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """The environment without git's own variables, which may point elsewhere."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        for who in ("AUTHOR", "COMMITTER"):
            environment[f"GIT_{who}_NAME"] = "autoresearch-org"
            environment[f"GIT_{who}_EMAIL"] = "lab@autoresearch-org.invalid"
        return environment | {
            "GIT_DIR": str(self.folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }


def _branch(run: str) -> str:
    plain_name = re.sub(r"[^\w-]+", "-", run).strip("-")
    return f"lab/{plain_name or 'run'}"


def _kept(commit: str, body: str) -> Kept:
    message, _, experiment_id = body.rstrip("\n").rpartition(TRAILER)
    return Kept(commit=commit, experiment_id=experiment_id, message=message)
