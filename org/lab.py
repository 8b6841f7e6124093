"""Everything a node may use, opened once from org.yaml: the composition root."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from org.at_work import AtWork
from org.config import Config
from org.digest import make_digest
from org.head import head_value, search_seed
from org.lineage import Lineage
from org.noise import run_spread
from org.notebook import Incumbent, Notebook, Run
from org.onlooker import Onlooker
from org.stack import stack
from roles.model import Model
from roles.patience import Patience
from roles.purse import Purse
from roles.records import Digest, Person
from trainer.dataset import Dataset
from trainer.devices import Devices
from trainer.files import write_whole
from trainer.setting import Setting

DIGEST_TOKENS = 8000
LOCK_TRIES, LOCK_SECONDS = 5, 0.2  # for a lab that another process holds, before that is told
PERSON_LOOK_SECONDS = 0.1  # between two looks of who waits for a person: an answer, a pause's end


class LabError(Exception):
    """The lab cannot be opened or cannot go on; the message is one line that a user can act on."""


class Stopped(Exception):
    """The run is being stopped; what is unfinished goes on with the next `org run`."""


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass(frozen=True)
class Lab:
    """A lab that is open for a run. Shared by all desks; every part is safe for threads.

    ``wall`` is what trials run behind (see `trainer.sandbox.find_wall`). ``stop`` asks for no new
    step, ``abandon`` also ends the trials at hand; while ``going`` is not set, the run is paused.
    ``last_order`` is the number of the last order that was there when this process took the lab.
    ``moving`` is held while head or incumbent change, ``certifying`` during a certification,
    ``referring`` while the incumbent is measured again, ``beside`` by the one smoke test that needs
    no device.
    ``count_tokens`` counts with the corpus's own tokenizer, which needs no download and errs on
    the high side for code and modern English.
    """

    folder: Path
    config: Config
    setting: Setting
    dataset: Dataset
    notebook: Notebook
    lineage: Lineage
    devices: Devices
    models: Mapping[str, Model]
    prompts: Mapping[str, str]
    run: Run
    wall: str
    onlooker: Onlooker
    count_tokens: Callable[[str], int]
    patience: Patience
    purse: Purse
    stop: threading.Event
    last_order: int
    abandon: threading.Event = field(default_factory=threading.Event)
    going: threading.Event = field(default_factory=_set)
    moving: threading.Lock = field(default_factory=threading.Lock)
    certifying: threading.Lock = field(default_factory=threading.Lock)
    referring: threading.Lock = field(default_factory=threading.Lock)
    beside: threading.Lock = field(default_factory=threading.Lock)
    opened: float = field(default_factory=time.monotonic)

    @property
    def people(self) -> tuple[Person, ...]:
        """Those whom the director can give work to."""
        roles = self.config.roles.hypothesis
        return tuple(Person(name=role.name, focus=role.focus) for role in roles)

    def check_stop(self) -> None:
        """Raises Stopped once a stop was asked for."""
        if self.stop.is_set():
            raise Stopped

    def wait_while_paused(self) -> None:
        """Wait until the run goes on. Raises Stopped once a stop was asked for."""
        while not self.going.wait(PERSON_LOOK_SECONDS):
            self.check_stop()

    def read_program(self) -> str:
        """Read program.md as it is now and keep it; its SHA-256.

        A person may be about to write it: where it cannot be read, what was read last stands.

        Raises:
            LabError: it cannot be read, and never was.
        """
        text = why = ""
        try:
            text = self.config.program.read_text(encoding="utf-8")
        except OSError as error:
            why = error.strerror or "it cannot be read"
        except UnicodeDecodeError:
            why = "it is not UTF-8"
        if text.strip():
            return self.notebook.keep_program(text)
        said = f"{self.config.program}: {why or 'there is nothing in it'}"
        if (sha := self.notebook.latest_program()) is None:
            raise LabError(said)
        self.onlooker.note(f"{said}; what was read last stands")
        return sha

    def incumbent(self) -> Incumbent:
        """The source to beat. Raises LabError before the baseline is measured."""
        incumbent = self.notebook.incumbent()
        if incumbent is None:
            raise LabError("the baseline of this lab has not been measured yet")
        return incumbent

    def worked_seconds(self) -> float:
        """Wall seconds that this run has worked.

        Breaks between two starts are left out, and so is what was waited for while no device was in
        use: an endpoint that is down, a person, the end of a pause.
        """
        now = self.patience.clock() - self.opened - self.patience.uncharged_seconds()
        return self.run.worked_seconds + max(now, 0.0)

    def hours_are_over(self) -> bool:
        """Whether the run has worked for as long as its budget allows."""
        hours = self.config.budget.hours
        return hours is not None and self.worked_seconds() >= hours * 3600

    def keep_time(self) -> None:
        """Keep in the notebook how long the run has worked so far, and its devices were there.

        They are there while an endpoint is waited for, and idle.
        """
        now = self.patience.clock() - self.opened - self.patience.paused_seconds()
        devices = max(now, 0.0) * len(self.devices.all_names)
        self.notebook.set_worked_seconds(
            self.run.id, self.worked_seconds(), (self.run.device_seconds or 0.0) + devices
        )

    @cached_property
    def at_work(self) -> AtWork:
        """Which experiments are at work, and which wait for a person."""
        return AtWork(self.patience)

    def digest(self, program_sha: str, *, besides: int) -> Digest:
        """The notebook for a role, without the experiment of the number ``besides``."""
        baseline = self.notebook.baseline()
        assert baseline is not None
        profile = self.setting.profile
        return make_digest(
            self.notebook,
            self.notebook.program(program_sha),
            besides=besides,
            baseline_bpb=baseline.val_bpb,
            incumbent_bpb=self.incumbent().val_bpb,
            head_bpb=head_value(self.notebook, profile, search_seed(self.notebook)).bpb,
            stacked=len(stack(self.notebook)),
            noise_bpb=run_spread(self.notebook, profile).bpb,
            terms=self.setting.in_words(),
            count_tokens=self.count_tokens,
            at_most_tokens=DIGEST_TOKENS,
        )

    def publish(self, incumbent: Incumbent) -> None:
        """Make the branch and the lab's train.py follow the notebook."""
        self.lineage.publish(incumbent.commit_sha)
        write_whole(self.folder / "train.py", self.notebook.source(incumbent.source_sha))


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a lab for this process alone.

    Raises:
        LabError: the folder cannot be written, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise LabError(f"the lab {folder} cannot be written: {error.strerror}") from None
    with file:
        if not _locked(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LabError(
                f"the lab {folder} is in use by process {holder}; stop it, or use another --lab"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    """Lock a file; who only looks whether it is locked (`is_held`) has it for a moment, too."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOCK_SECONDS / LOCK_TRIES)
    return False


def is_held(folder: Path) -> bool:
    """Whether a process holds a lab, and works in it."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
