"""Everything a node may use, opened once from org.yaml: the composition root."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from org.config import Config
from org.digest import make_digest
from org.head import head_bpb, search_seed
from org.lineage import Lineage
from org.noise import run_spread
from org.notebook import Incumbent, Notebook, Run, Span
from org.onlooker import Onlooker
from org.purse import Purse
from org.stack import stack
from org.timings import spans_of
from roles.model import Model
from roles.patience import Patience
from roles.records import Digest, Person
from trainer.dataset import Dataset
from trainer.devices import Devices, Lease, LeaseAbandoned, NoDeviceLeft, in_trouble
from trainer.setting import Setting
from trainer.smoke import can_run_beside, smoke_test
from trainer.trial import Trial, TrialAbandoned, TrialLost, run_trial

DIGEST_TOKENS = 8000

LOSSES_PER_TRIAL = 3  # so often a trial that was lost is begun again, on whatever device is free

T = TypeVar("T")


class LabError(Exception):
    """The lab cannot be opened or cannot go on; the message is one line that a user can act on."""


class Stopped(Exception):
    """The run is being stopped; what is unfinished goes on with the next `org run`."""


@dataclass(frozen=True)
class Lab:
    """A lab that is open for a run. Shared by all desks; every part is safe for threads.

    ``wall`` is what trials run behind (see `trainer.sandbox.find_wall`). ``stop`` asks for no new
    step, ``abandon`` also ends the trials at hand. ``moving`` is held while head or
    incumbent change, ``certifying`` during a certification, ``beside`` by the one smoke test that
    needs no device.
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
    patience: Patience = field(default_factory=Patience)
    stop: threading.Event = field(default_factory=threading.Event)
    abandon: threading.Event = field(default_factory=threading.Event)
    moving: threading.Lock = field(default_factory=threading.Lock)
    certifying: threading.Lock = field(default_factory=threading.Lock)
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

    def read_program(self) -> str:
        """Read program.md as it is now and keep it; its SHA-256."""
        return self.notebook.keep_program(self.config.program.read_text(encoding="utf-8"))

    def incumbent(self) -> Incumbent:
        """The source to beat. Raises LabError before the baseline is measured."""
        incumbent = self.notebook.incumbent()
        if incumbent is None:
            raise LabError("the baseline of this lab has not been measured yet")
        return incumbent

    def worked_seconds(self) -> float:
        """Wall seconds that this run has worked.

        Breaks between two starts are left out, and waiting for an endpoint that is down.
        """
        now = time.monotonic() - self.opened - self.patience.down_seconds()
        return self.run.worked_seconds + max(now, 0.0)

    def keep_time(self) -> None:
        """Keep in the notebook how long the run has worked so far, and its devices with it."""
        worked = self.worked_seconds()
        now = worked - self.run.worked_seconds
        devices = (self.run.device_seconds or 0.0) + now * len(self.devices.all_names)
        self.notebook.set_worked_seconds(self.run.id, worked, devices)

    @cached_property
    def purse(self) -> Purse:
        """What the run may spend on models."""
        return Purse(self.notebook, self.run.id, self.config.budget.dollars)

    def digest(self, program_sha: str, *, besides: str) -> Digest:
        """The notebook for a role, without the experiment ``besides``."""
        experiments = [
            experiment
            for experiment in self.notebook.experiments()
            if experiment.id != besides and experiment.category is not None
        ]
        profile = self.setting.profile
        return make_digest(
            self.notebook.program(program_sha),
            [experiment.entry() for experiment in experiments],
            baseline_bpb=self.notebook.incumbents()[0].val_bpb,
            incumbent_bpb=self.incumbent().val_bpb,
            head_bpb=head_bpb(self.notebook, profile, search_seed(self.notebook)),
            stacked=len(stack(self.notebook)),
            noise_bpb=run_spread(self.notebook, profile).bpb,
            count_tokens=self.count_tokens,
            at_most_tokens=DIGEST_TOKENS,
        )

    def measure(
        self, trial_id: str, source: str, seed: int, *, audit: bool, desk: str, what: str
    ) -> Trial:
        """Run one trial on the next free device; a trial that finished before is found again.

        Raises:
            Stopped: the trial was abandoned, or no device came free before the stop.
            LabError: the trial is lost over and over, or no device is left.
        """

        def work(device: Lease) -> Trial:
            return self.run_trial(device, trial_id, source, seed, audit=audit, desk=desk, what=what)

        return self.on_device(work, desk=desk, what=what)

    def on_device(
        self,
        work: Callable[[Lease], T],
        *,
        desk: str,
        what: str,
        experiment: str | None = None,
        short: bool = False,
    ) -> T:
        """Do some work with the next free device; where its trial is lost, again with another.

        Raises:
            Stopped, LabError: see `measure`.
        """
        lost = ""
        for _ in range(LOSSES_PER_TRIAL):
            self.onlooker.doing(desk, f"{what}: waiting for a device")
            asked = time.time()
            try:
                with self.devices.lease(self.stop, short=short) as device:
                    self._keep_wait(experiment, asked)
                    try:
                        return work(device)
                    except TrialLost as error:
                        lost = str(error)
                        if self.devices.failed(device, f"{lost} {asked}"):
                            self._set_aside(device, lost)
            except (LeaseAbandoned, TrialAbandoned):
                raise Stopped from None
            except NoDeviceLeft:
                raise LabError(f"no device is left; the last words: {lost}") from None
        raise LabError(lost)

    def run_trial(
        self,
        device: Lease,
        trial_id: str,
        source: str,
        seed: int,
        *,
        audit: bool,
        desk: str,
        what: str,
        experiment: str | None = None,
    ) -> Trial:
        """Run one trial on this device; one that finished before is found again.

        With ``audit`` the audit text is scored too: only for runs that may change the incumbent.

        Raises:
            TrialAbandoned, TrialLost: see `trainer.trial.run_trial`.
        """
        self.onlooker.doing(desk, what, self.setting.seconds)
        began, clock = time.time(), time.monotonic()
        trial = run_trial(
            source,
            seed=seed,
            setting=self.setting,
            dataset=self.dataset,
            device=device,
            folder=self.folder / "trials" / trial_id,
            wall=self.wall,
            precedence=self.config.precedence,
            audit=audit,
            stop=self.abandon,
        )
        held_seconds = time.monotonic() - clock
        spans = spans_of(trial, trial_id, self.run.id, experiment, began, held_seconds)
        self.notebook.record_spans(*spans)
        self.keep_time()
        self._judge(device, trial)
        return trial

    def smoke_test(
        self,
        device: Lease | None,
        test_id: str,
        source: str,
        *,
        desk: str,
        what: str,
        experiment: str,
    ) -> Trial:
        """See whether a source runs: on a device, or (None) on a core that no trial needs.

        Raises:
            TrialAbandoned, TrialLost: see `trainer.smoke.smoke_test`.
        """
        self.onlooker.doing(desk, what)
        began, clock = time.time(), time.monotonic()
        trial = smoke_test(
            source,
            setting=self.setting,
            dataset=self.dataset,
            device=device or "cpu",
            folder=self.folder / "smoke" / test_id,
            wall=self.wall,
            stop=self.abandon,
        )
        self.notebook.record_spans(
            Span(
                id=f"{test_id}/smoke",
                run=self.run.id,
                experiment=experiment,
                kind="smoke-tested",
                device=device,
                started=began,
                seconds=time.monotonic() - clock,
            )
        )
        if device:
            self._judge(device, trial)
        return trial

    def smoke_test_beside(
        self, test_id: str, source: str, *, desk: str, what: str, experiment: str
    ) -> Trial:
        """See whether a source runs, on a core that no trial needs, one source at a time.

        Raises:
            Stopped, LabError: see `measure`.
        """
        with self.beside:
            try:
                return self.smoke_test(
                    None, test_id, source, desk=desk, what=what, experiment=experiment
                )
            except TrialAbandoned:
                raise Stopped from None
            except TrialLost as error:
                raise LabError(str(error)) from None

    def has_room_beside(self) -> bool:
        """Whether a smoke test on this machine is no trial's business."""
        names = self.devices.all_names
        on_cpu = all(name.startswith("cpu") for name in names)
        return on_cpu and can_run_beside(len(names), self.setting.threads)

    def _keep_wait(self, experiment: str | None, asked: float) -> None:
        seconds = time.time() - asked
        if experiment and seconds > 0:
            self.notebook.record_spans(
                Span(
                    id=f"{experiment}/waited {asked}",
                    run=self.run.id,
                    experiment=experiment,
                    kind="waited",
                    started=asked,
                    seconds=seconds,
                )
            )

    def _judge(self, device: Lease, trial: Trial) -> None:
        """Set a device aside on which one source after the other comes to grief, and not by itself.

        What a broken device says a broken train.py may say too: the baseline, which is not, tells.
        """
        if trial.outcome != "crashed" or not in_trouble(trial.reason):
            self.devices.succeeded(device)
        elif self.devices.failed(device, trial.source_sha):
            probe = smoke_test(
                self.notebook.source(self.run.baseline_sha),
                setting=self.setting,
                dataset=self.dataset,
                device=device,
                folder=self.folder / "smoke" / f"probe-{time.time_ns()}",
                wall=self.wall,
                stop=self.abandon,
            )
            if probe.outcome == "completed":
                self.devices.succeeded(device)
            else:
                self._set_aside(device, trial.reason)

    def _set_aside(self, device: Lease, why: str) -> None:
        self.devices.set_aside(device)
        left = ", ".join(self.devices.names) or "none"
        self.onlooker.note(f"{device} failed again and is set aside ({left} left): {why}")

    def publish(self, incumbent: Incumbent) -> None:
        """Make the branch and the lab's train.py follow the notebook."""
        self.lineage.publish(incumbent.commit_sha)
        part = self.folder / "train.py.part"
        part.write_bytes(self.notebook.source(incumbent.source_sha).encode())
        part.replace(self.folder / "train.py")


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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LabError(
                f"the lab {folder} is in use by process {holder}; stop it, or use another --lab"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
