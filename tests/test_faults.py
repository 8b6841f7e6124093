"""What machines do to a run: full disks, locks, clocks, signals, memory. Nothing is lost by any of it."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import sqlite3
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from org.notebook import Notebook
from org.trouble import Patient
from tests.organizations import (
    NO_SANDBOX,
    Gates,
    Organization,
    Organize,
    eventually,
    gated,
    killed_in_the_end,
    org,
    plain_experiment,
    processes_about,
    refused,
    start_run,
    work,
)

Begin = Callable[..., subprocess.Popen[bytes]]

FIRST = "gain 0.0 seed 1"


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start `python -m org run` as a person would; what is left of it in the end is killed."""
    with killed_in_the_end(tmp_path) as started:

        def run(organization: Organization, **how: object) -> subprocess.Popen[bytes]:
            said = (organization.folder / f"said-{len(started) + 1}").open("wb")
            terms = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said} | how
            process = start_run(organization, **terms)
            said.close()
            started.append(process)
            return process

        yield run


def said(organization: Organization, number: int = 1) -> str:
    return (organization.folder / f"said-{number}").read_text()


def recorded(organization: Organization) -> list[str]:
    return [purpose for purpose, *_ in organization.trials()]


@pytest.fixture
def held(organize: Organize, gates: Gates) -> Organization:
    """An organization whose first trial is held up by a gate."""
    gates.shut(FIRST)
    return organize(source=gated(gates.folder), more=NO_SANDBOX, script=[])


# --- who asks a run to end ------------------------------------------------------------------------


def test_a_second_run_is_refused_and_a_request_to_end_lets_the_trial_finish(
    held: Organization, begin: Begin, gates: Gates
):
    first = begin(held)
    gates.wait_until_begun(FIRST)
    second = begin(held)
    assert second.wait() == 2
    (line,) = [line for line in said(held, 2).splitlines() if str(first.pid) in line]
    assert "in use by process" in line
    assert "Traceback" not in said(held, 2)
    first.send_signal(signal.SIGTERM)
    eventually(lambda: "stopping after the trials at hand" in said(held))
    gates.open(FIRST)
    assert first.wait() == 130
    assert "To go on: python -m org run" in said(held)
    assert recorded(held) == ["baseline"]
    assert processes_about(held.folder) == []
    assert held.faults() == []


def test_a_terminal_that_goes_away_lets_the_trial_finish_and_is_no_error(
    held: Organization, begin: Begin, gates: Gates
):
    ours, its = pty.openpty()

    def own_terminal() -> None:
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    errors = (held.folder / "errors").open("wb")
    process = begin(held, stdin=its, stdout=its, stderr=errors, preexec_fn=own_terminal)
    os.close(its)
    gates.wait_until_begun(FIRST)
    os.close(ours)
    gates.open(FIRST)
    assert process.wait() == 130
    assert (held.folder / "errors").read_text() == ""
    assert recorded(held) == ["baseline"]
    assert processes_about(held.folder) == []


def test_a_pipe_that_nobody_reads_any_more_is_written_to_without_an_error():
    ours, its = os.pipe()
    os.close(ours)
    with open(its, "w") as pipe:  # noqa: PTH123 - it has no path
        patient = Patient(pipe)
        assert patient.write("lost\n") == 5
        assert patient.gone
        assert patient.write("lost too\n") == 9


# --- disk, locks, clocks --------------------------------------------------------------------------


def test_a_disk_that_takes_no_more_stops_the_run_in_one_line_and_the_same_command_goes_on(
    organize: Organize, begin: Begin
):
    organization = organize(experiments=2, attempts=1, script=refused(0.5) + refused(0.7))

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))

    process = begin(organization, preexec_fn=little_room)
    assert process.wait() == 2, said(organization)
    (line,) = [each for each in said(organization).splitlines() if "cannot be written" in each]
    assert "make room, then the same command goes on" in line
    assert "Traceback" not in said(organization)
    assert organization.faults() == []

    assert work(organization).reasons == []
    assert [organization.experiment(n).decision for n in (1, 2)] == ["discard", "discard"]
    assert organization.replies_count() == 10
    assert organization.faults() == []


def test_a_notebook_that_another_program_holds_for_a_while_is_waited_for(organize: Organize):
    organization = organize(attempts=1, script=refused(0.5))
    waits: list[float] = []

    def hold_for_a_while(lab: object) -> None:
        other = sqlite3.connect(
            organization.lab / "notebook.sqlite", check_same_thread=False, isolation_level=None
        )
        other.execute("begin immediate")
        began = time.monotonic()

        def let_go() -> None:
            other.execute("rollback")
            other.close()
            waits.append(time.monotonic() - began)

        threading.Timer(2.0, let_go).start()

    began = time.monotonic()
    assert work(organization, opened=hold_for_a_while).reasons == []
    assert time.monotonic() - began >= waits[0] >= 2.0
    assert organization.experiment().decision == "discard"
    assert organization.faults() == []


@contextmanager
def locked(organization: Organization) -> Iterator[None]:
    """While another program writes into the notebook, and does not come to an end."""
    with closing(sqlite3.connect(organization.lab / "notebook.sqlite", timeout=0)) as other:
        other.execute("begin immediate")
        yield


@pytest.mark.quick
def test_a_notebook_that_stays_locked_ends_what_writes_in_one_line_and_can_be_read(
    organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    organization = organize(attempts=1, script=refused(0.5))
    assert work(organization).reasons == []
    monkeypatch.setattr("org.notebook.BUSY_SECONDS", 0.1)
    with locked(organization):
        for command in (["run"], ["pause"], ["say", "look at the schedule"]):
            code, said = org(organization, *command)
            assert (code, "another program has locked the notebook" in said) == (2, True)
        for command in (["status"], ["notebook"], ["replay", "1"], ["diff"]):
            code, said = org(organization, *command)
            assert (code, "locked" in said) == (0, False)


def test_a_disk_that_takes_nothing_when_a_run_begins_is_told_in_one_line(
    organize: Organize, begin: Begin
):
    organization = organize(attempts=1, script=refused(0.5))

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    process = begin(
        organization, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=no_room
    )
    told, _ = process.communicate()
    assert process.returncode == 2
    assert b"cannot be written" in told
    assert b"Traceback" not in told


def test_nobody_writes_between_what_a_transaction_reads_and_what_it_writes(tmp_path: Path):
    path = tmp_path / "notebook.sqlite"
    with closing(Notebook(path)) as notebook, closing(sqlite3.connect(path, timeout=0)) as other:
        with notebook.transaction():
            assert notebook.rows("select * from sources") == []
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("insert into sources values ('a', 'b')")
            notebook.keep_source("GAIN = 0.0\n")
        assert other.execute("select count(*) from sources").fetchone() == (1,)


@pytest.mark.parametrize("hours", [1, -1], ids=["put forward", "put back"])
def test_a_clock_that_is_changed_changes_no_duration_and_no_verdict(
    hours: int, organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    clock, changes = time.time, 0.0

    def changed() -> float:
        nonlocal changes
        changes += 1
        return clock() + hours * 600 * changes  # at every look by ten minutes more

    tried = plain_experiment("GAIN = 0.0", "GAIN = -1.0")
    organization = organize(experiments=2, attempts=1, script=tried + refused(0.7))
    began = time.monotonic()
    monkeypatch.setattr(time, "time", changed)
    assert work(organization).reasons == []
    monkeypatch.undo()
    took = time.monotonic() - began
    with organization.notebook() as notebook:
        run = notebook.latest_run()
        rows = notebook.rows("select kind, seconds from spans where experiment is not null")
    assert run is not None
    assert run.ended is not None
    assert run.worked_seconds <= took
    spans = {row["kind"]: row["seconds"] for row in rows}
    assert {"waited", "smoke-tested", "started up", "trained", "scored"} <= spans.keys()
    assert 0.0 <= min(spans.values()) <= sum(spans.values()) <= took
    assert [organization.experiment(n).decision for n in (1, 2)] == ["discard", "discard"]
    assert organization.faults() == []


@pytest.mark.quick
def test_two_runs_that_begin_at_the_same_time_of_day_are_two_runs(
    organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    organization = organize(attempts=1, script=refused(0.5) + refused(0.7))
    noon = time.time()
    monkeypatch.setattr(time, "time", lambda: noon)
    assert work(organization).reasons == []
    monkeypatch.setattr(time, "time", lambda: noon - 0.001)
    assert work(organization).reasons == []
    with organization.notebook() as notebook:
        first, second = notebook.runs()
        latest = notebook.latest_run()
    assert second.id == f"{first.id}-2"
    assert latest == second
    assert organization.experiment(2).run == second.id


# --- memory ---------------------------------------------------------------------------------------


def trial_at_work() -> psutil.Process | None:
    """The process of a train.py that trains, below this one: neither smoke-tested nor asked again."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[1:] == ["train.py"] and Path(process.cwd()).name == "work":
                return process
    return None


def test_a_trial_that_the_kernel_kills_is_told_as_out_of_memory_and_the_run_goes_on(
    organize: Organize,
):
    large = plain_experiment("GAIN = 0.0", "GAIN = 1.0")
    organization = organize(experiments=2, attempts=1, more=NO_SANDBOX, script=large + refused(0.7))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization)
        eventually(trial_at_work).kill()
        assert running.result().reasons == []
    (outcome,) = [each for _, each, _ in organization.trials(1)]
    assert outcome == "crashed"
    reason = organization.experiment(1).reason or ""
    assert "out of memory: peak " in reason
    assert "killed, most likely by the kernel" in reason
    assert organization.experiment(2).decision == "discard"
    assert organization.faults() == []
