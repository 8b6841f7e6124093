"""Is nothing lost? A small organization is killed at random points, over and over, and goes on each time.

Real are the organization, its files, git and the trials' processes; a model at the far end of its
door answers by a rule, and the train.py has a few lines. Every life of the organization is a fork
of this process, so that a kill costs no start of an interpreter. A life ends by SIGKILL or, some
milliseconds after such a point, by SIGALRM, which nothing here handles: no code of ours runs then.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import click
import psutil

from benchmarks.table import markdown
from benchmarks.throughput import SAID
from org.config_reading import load_config
from org.desk import run
from org.notebook import Notebook, is_lab
from org.onlooker import Nobody
from org.opening import open_lab
from roles.model import Answer, Brief, Reply
from roles.records import EngineerReads, HypothesisReads
from tests.organizations import Organization, tiny_setting_on
from tests.sources import SCRIPTED
from trainer.dataset import build_dataset
from trainer.descendants import adopt_orphans, kill_descendants
from trainer.setting import default_cache

DESKS = 2
POINTS = 40  # a life ends after at most so many of them; a run that nobody kills has about 500
LATER_SECONDS = (
    0.0,
    0.02,
    2.0,
)  # at a point, soon after it, or when a trial that it began is at work
WITH_EVERYTHING = 1 / 3  # of the kills take all processes along, as a power cut does
HANGS_SECONDS = 300.0

# Each trial leaves its name outside of its folder, so that it is known how often it was begun.
TRAIN = f"""
from pathlib import Path
if Path.cwd().name == "work":  # and not the smoke test, or the process that is asked again
    with (Path.cwd().parents[3] / "begun").open("a") as begun:
        begun.write(Path.cwd().parent.name + chr(10))
{SCRIPTED}"""

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|COMMIT|RELEASE)\b\W*(?:OR \w+ )?(?:INTO |FROM )?\W*(\w*)", re.I)  # fmt: skip


class Rule:
    """A model that answers each brief by a rule, always the same, and leaves a mark each time."""

    name = "a rule"

    def __init__(self, asked: Path, point: Callable[[str], None]) -> None:
        self.asked, self.point = asked, point

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        self.point("a model is asked")
        with self.asked.open("a") as asked:
            asked.write(f"{brief.role}\n")
        self.point("a model has answered")
        reply = reply_type.model_validate(self._said(brief, reply_type.__name__))
        return Answer[Reply](reply=reply, text=str(reply), model=self.name)

    def _said(self, brief: Brief, wanted: str) -> dict[str, Any]:
        reads = brief.reads
        if isinstance(reads, EngineerReads):
            (line,) = (each for each in reads.source.splitlines() if each.startswith("GAIN = "))
            gain = f"GAIN = {reads.hypothesis.title}"
            block = f"<<<<<<< SEARCH\n{line}\n=======\n{gain}\n>>>>>>> REPLACE\n"
            return {"text": f"SUMMARY: {gain}\n{block}"}
        if isinstance(reads, HypothesisReads):
            chance = random.Random(hashlib.sha256(brief.model_dump_json().encode()).digest())
            return {**SAID["Hypothesis"], "title": f"{chance.uniform(-1, 3):.4f}"}
        return SAID[wanted]


# --- one life -----------------------------------------------------------------------------------


class Death:
    """Ends this process at the point of this number, or up to some milliseconds later.

    A point is whatever changes the world: a statement that writes, a file that is written or
    renamed, a program that is started, a question to a model. What it was is left in ``mark``.
    """

    def __init__(self, number: int | None, later_seconds: float, mark: Path) -> None:
        self.number, self.later_seconds, self.mark = number, later_seconds, mark
        self._points = itertools.count(1)
        self._dying = False

    def watch(self) -> None:
        sys.addaudithook(self._audited)
        connect = sqlite3.connect

        def traced(*where: Any, **how: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*where, **how)
            connection.set_trace_callback(self._traced)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]  # in this life; it has no audit event

    def point(self, what: str) -> None:
        if self._dying or next(self._points) != self.number:
            return
        self._dying = True  # what follows is no point
        self.mark.write_text(what)
        if not self.later_seconds:
            os.kill(os.getpid(), signal.SIGKILL)
        signal.setitimer(signal.ITIMER_REAL, self.later_seconds)

    def points(self) -> int:
        return next(self._points) - 1

    def _audited(self, event: str, said: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            words = [str(word) for word in said[1]]
            is_git = words[0] == "git"
            self.point(f"starting {f'git {words[5]}' if is_git else 'a supervisor'}")
        elif event == "os.rename":
            self.point(f"renaming {Path(said[0]).name}")
        elif event == "open" and not isinstance(said[0], int):
            path, mode, flags = str(said[0]), said[1] or "", said[2] or 0
            writes = set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
            if writes and not path.endswith((".lock", "/alone", "/asked", "/null")):
                self.point(f"writing {Path(path).name}")

    def _traced(self, statement: str) -> None:
        found = WRITES.match(statement)
        if found and found[2] != "sqlite_utils_query":  # which only reads
            self.point(f"{found[1].upper()} {found[2]}".strip())


def live(organization: Organization, death: Death) -> NoReturn:
    """One life of an organization, in this process: exit code 0 at the end of the run."""
    code = 1
    said = (organization.folder / "said").open("a", buffering=1)
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    try:
        death.watch()
        rule = Rule(organization.folder / "asked", death.point)
        with open_lab(load_config(organization.config_path), organization.lab, Nobody()) as lab:
            reasons = run(replace(lab, models=dict.fromkeys(lab.models, rule)))
        for reason in reasons:
            print(reason)
        code = 1 if reasons else 0
        print(f"{death.points()} points")
    finally:
        if sys.exc_info()[0]:
            traceback.print_exc()
        os._exit(code)  # a fork must not go on with its parent's work, whatever happened


# --- many lives ---------------------------------------------------------------------------------


@dataclass
class Lives:
    """The lives of one organization, and all that was found wrong after any of them."""

    organization: Organization
    chance: random.Random
    faults: list[str] = field(default_factory=list)
    deaths: Counter[tuple[str, bool]] = field(default_factory=Counter)
    died: Counter[str] = field(default_factory=Counter)
    taken_up: Counter[str] = field(default_factory=Counter)

    def live_and_die(self, *, killed: bool) -> bool:
        """Let it live until it is killed, or its run has ended; whether it has."""
        folder = self.organization.folder
        mark = folder / "mark"
        mark.unlink(missing_ok=True)
        number = self.chance.randint(1, POINTS) if killed else None
        later_seconds = self.chance.uniform(0.0, self.chance.choice(LATER_SECONDS))
        finished, asked, recorded = self._finished(), self._lines("asked"), self._recorded()
        before = Counter(begun := self._lines("begun"))
        child = os.fork()
        if not child:
            live(self.organization, Death(number, later_seconds, mark))
        status = _wait(child)
        where = mark.read_text() if mark.exists() else "its end"
        ended = os.WIFEXITED(status)
        if ended and os.WEXITSTATUS(status):
            self.faults.append(f"it failed: {' / '.join(self._lines('said')[-3:])}")
        if not ended:
            self._die(where)
        again = set(self._lines("begun")[len(begun) :]) & finished
        self.faults += [f"after {where}: {name} had finished and was begun again" for name in again]
        for name in set(before) - finished & self._finished():
            self.taken_up["read or waited for"] += name not in self._lines("begun")[len(begun) :]
        paid = len(self._lines("asked")) - len(asked)
        lost = paid - (self._recorded() - recorded)
        if not 0 <= lost <= (0 if ended else DESKS):
            self.faults.append(f"before {where}: {paid} replies were paid for, {lost} are lost")
        if is_lab(self.organization.lab):
            self.faults += [f"after {where}: {fault}" for fault in self.organization.faults()]
        return ended or self._is_over()

    def adopt_baseline(self, other: Lives) -> None:
        """Begin with the finished runs of another's baseline."""
        for trial in other.organization.lab.glob("trials/baseline-*"):
            shutil.copytree(trial, self.organization.lab / "trials" / trial.name)

    def _die(self, where: str) -> None:
        """The organization is dead; with some chance everything that it began dies with it."""
        everything = self.chance.random() < WITH_EVERYTHING
        self.deaths[where, everything] += 1
        if everything:
            kill_descendants()
            self.died.update(set(self._lines("begun")) - self._finished())

    def look_back(self) -> None:
        """What must be so once the run has ended, however often it was killed."""
        for name, times in Counter(self._lines("begun")).items():
            if times > 1 + self.died[name]:
                self.faults.append(
                    f"{name} was begun {times} times and died {self.died[name]} times"
                )
        left = [each for each in psutil.Process().children(recursive=True) if _is_alive(each)]
        self.faults += [f"left over: {' '.join(process.cmdline())}" for process in left]
        with closing(
            Notebook(self.organization.lab / "notebook.sqlite", read_only=True)
        ) as notebook:
            runs, closed = notebook.runs(), notebook.experiments(closed=True)
            trials = {row["id"] for row in notebook.rows("select id from trials")}
        if [each.ended is not None for each in runs] != [True]:
            self.faults.append(f"there are {len(runs)} runs, or the run has not ended")
        if len(closed) != (wanted := self.organization.experiments):
            self.faults.append(f"{len(closed)} of {wanted} experiments are closed")
        if lost := self._finished() - trials:
            self.faults.append(f"not on record: {', '.join(sorted(lost))}")

    def _is_over(self) -> bool:
        """Whether its run has ended, although it was killed: by right it would begin another."""
        if not is_lab(self.organization.lab):
            return False
        path = self.organization.lab / "notebook.sqlite"
        with closing(Notebook(path, read_only=True)) as notebook:
            has_tables = notebook.rows("select name from sqlite_master where name = 'runs'")
            return bool(has_tables) and any(run.ended is not None for run in notebook.runs())

    def _lines(self, name: str) -> list[str]:
        path = self.organization.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def _finished(self) -> set[str]:
        return {path.parent.name for path in self.organization.lab.glob("trials/*/trial.json")}

    def _recorded(self) -> int:
        path = self.organization.lab / "notebook.sqlite"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
            (count,) = connection.execute(
                "select count(*) from messages where model is not null"
            ).fetchone()
            return int(count)
        return 0  # killed before it had its tables


def _wait(child: int) -> int:
    """Until a life has ended; everything else that ends meanwhile is reaped as well."""
    deadline = time.monotonic() + HANGS_SECONDS
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == child:
            return status
        if not ended:
            time.sleep(0.005)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGQUIT)
            raise click.ClickException("a life hangs")


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def organization_in(folder: Path, experiments: int) -> Organization:
    """An organization in a new folder, whose corpus is prepared."""
    setting = tiny_setting_on(folder.parent / "texts")
    more = {"sandbox": "none", "desks": DESKS, "devices": ["cpu:0", "cpu:1"]}
    organization = Organization(
        folder, setting, source=TRAIN, model="playbook", experiments=experiments, more=more
    )
    organization.write()
    child = os.fork()  # what prepares a corpus has threads, which a fork must not have behind it
    if not child:
        build_dataset(setting, default_cache())
        os._exit(0)
    os.waitpid(child, 0)
    return organization


@click.command()
@click.option("--times", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=int, default=None, help="Of the chances; a new one if left out.")
@click.option("--experiments", type=click.IntRange(1), default=2, show_default=True)
def main(times: int, seed: int | None, experiments: int) -> None:
    """Kill an organization so often; exit code 1 where something was lost, doubled or left over."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    adopt_orphans()
    chance, labs = random.Random(seed), list[Lives]()
    began, processor = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as name:
        while (kills := sum(lives.deaths.total() for lives in labs)) < times:
            lives = Lives(
                organization_in(Path(name) / f"organization-{len(labs) + 1}", experiments), chance
            )
            if labs:  # the baseline is the same, and has been killed often enough
                lives.adopt_baseline(labs[0])
            labs.append(lives)
            while not lives.live_and_die(killed=kills + lives.deaths.total() < times):
                pass
            if lives.faults:
                break
            lives.look_back()
    click.echo(markdown([("killed at", "alone", "with everything"), *_rows(labs)]))
    faults = [fault for lives in labs for fault in lives.faults]
    begun_again = sum((lives.died for lives in labs), Counter[str]()).total()
    taken_up = sum((lives.taken_up for lives in labs), Counter[str]()).total()
    used = sum(os.times()[:4]) - sum(processor[:4])
    click.echo(
        f"{sum(lives.deaths.total() for lives in labs)} kills in {len(labs)} labs: {taken_up} trials"
        f" that outlived their organization were taken up or read, {begun_again} that died with it"
        f" were run again; {time.monotonic() - began:.0f} s, {used:.0f} of processor time"
    )
    for fault in faults or ["nothing lost, nothing doubled, nothing left over"]:
        click.echo(fault)
    sys.exit(1 if faults else 0)


def _rows(labs: list[Lives]) -> list[tuple[str, str, str]]:
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for lives in labs:
        for (where, everything), times in lives.deaths.items():
            found[where][everything] += times
    ordered = sorted(found.items(), key=lambda each: (-sum(each[1]), each[0]))
    return [(where, str(alone), str(whole)) for where, (alone, whole) in ordered]


if __name__ == "__main__":
    main()
