"""What a lab does with its devices: waits for one, smoke-tests, runs trials, sets broken ones aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from org.lab import Lab, LabError, Stopped
from org.notebook import Span, SpanKind
from org.timings import spans_of
from trainer.devices import Lease, LeaseAbandoned, NoDeviceLeft, in_trouble
from trainer.smoke import can_run_beside, smoke_test
from trainer.trial import Trial, TrialAbandoned, TrialLost, run_trial

LOSSES_PER_TRIAL = 3  # so often a trial that was lost is begun again, on whatever device is free

T = TypeVar("T")


class Asker(NamedTuple):
    """Who wants a device, and what for: a desk, in the onlooker's words, and its experiment.

    ``urgent`` is whether a candidate's trial goes before those of others; None for what no candidate
    goes before.
    """

    desk: str
    what: str
    experiment: str | None = None
    urgent: bool | None = None


def on_device(lab: Lab, asker: Asker, work: Callable[[Lease], T], *, short: bool = False) -> T:
    """Do some work with the next free device; where its trial is lost, again with another.

    What takes seconds is ``short`` and goes before what takes a trial's time.

    Raises:
        Stopped: the trial was abandoned, or no device came free before the stop.
        LabError: the trial is lost over and over, or no device is left.
    """
    lost = ""
    for _ in range(LOSSES_PER_TRIAL):
        _wait_while_paused(lab, asker)
        lab.onlooker.doing(asker.desk, f"{asker.what}: waiting for a device")
        asked, clock = time.time(), time.monotonic()
        try:
            with _next_device(lab, asker, short=short) as device:
                _keep(
                    lab, asker, "waited", f"{asker.experiment}/waited {asked}", None, asked, clock
                )
                try:
                    return work(device)
                except TrialLost as error:
                    lost = str(error)
                    if lab.devices.failed(device, f"{lost} {asked}"):
                        _set_aside(lab, device, lost)
        except (LeaseAbandoned, TrialAbandoned):
            raise Stopped from None
        except NoDeviceLeft:
            raise LabError(f"no device is left{f': {lost}' if lost else ''}") from None
    raise LabError(lost)


@contextmanager
def _next_device(lab: Lab, asker: Asker, *, short: bool) -> Iterator[Lease]:
    """The next free device; one that comes free during a pause is let go again.

    While it is held, the time is charged, whoever else waits for an endpoint or a person.
    """
    while True:
        with (
            lab.devices.lease(lab.stop, short=short, urgent=asker.urgent) as device,
            lab.patience.charged(),
        ):
            if lab.going.is_set():
                yield device
                return
        _wait_while_paused(lab, asker)


def _wait_while_paused(lab: Lab, asker: Asker) -> None:
    if not lab.going.is_set():
        lab.onlooker.doing(asker.desk, f"{asker.what}: paused")
        lab.wait_while_paused()


def measure(
    lab: Lab,
    asker: Asker,
    device: Lease,
    trial_id: str,
    source: str,
    seed: int,
    *,
    audit: bool = False,
) -> Trial:
    """Run one trial on this device; one that finished before is found again.

    With ``audit`` the audit text is scored too: only for runs that may change the incumbent.

    Raises:
        TrialAbandoned, TrialLost: see `trainer.trial.run_trial`.
    """
    lab.onlooker.doing(asker.desk, asker.what, lab.setting.seconds)
    began, clock = time.time(), time.monotonic()
    trial = run_trial(
        source,
        seed=seed,
        setting=lab.setting,
        dataset=lab.dataset,
        device=device,
        folder=lab.folder / "trials" / trial_id,
        wall=lab.wall,
        precedence=lab.config.precedence,
        audit=audit,
        stop=lab.abandon,
    )
    held_seconds = time.monotonic() - clock
    lab.notebook.record_spans(
        *spans_of(trial, trial_id, lab.run.id, asker.experiment, began, held_seconds)
    )
    lab.keep_time()
    _judge(lab, device, trial)
    return trial


def measure_soon(
    lab: Lab, asker: Asker, trial_id: str, source: str, seed: int, *, audit: bool
) -> Trial:
    """Run one trial on the next free device.

    Raises:
        Stopped, LabError: see `on_device`.
    """
    return on_device(
        lab,
        asker,
        lambda device: measure(lab, asker, device, trial_id, source, seed, audit=audit),
    )


# --- smoke tests --------------------------------------------------------------------------------


def try_out(lab: Lab, asker: Asker, test_id: str, source: str) -> Trial:
    """See whether a source runs: on a core that no trial needs, or on the next free device.

    Raises:
        Stopped, LabError: see `on_device`.
    """
    _wait_while_paused(lab, asker)
    if not _has_room_beside(lab):
        return on_device(
            lab, asker, lambda device: try_out_on(lab, asker, device, test_id, source), short=True
        )
    with lab.beside:
        try:
            return try_out_on(lab, asker, None, test_id, source)
        except TrialAbandoned:
            raise Stopped from None
        except TrialLost as error:
            raise LabError(str(error)) from None


def try_out_on(lab: Lab, asker: Asker, device: Lease | None, test_id: str, source: str) -> Trial:
    """See whether a source runs, on this device or (None) on some core.

    Raises:
        TrialAbandoned, TrialLost: see `trainer.smoke.smoke_test`.
    """
    lab.onlooker.doing(asker.desk, f"{asker.what}: smoke test")
    began, clock = time.time(), time.monotonic()
    trial = _smoke_test(lab, device or "cpu", test_id, source)
    _keep(lab, asker, "smoke-tested", f"{test_id}/smoke-tested", device, began, clock)
    if device:
        _judge(lab, device, trial)
    return trial


def _has_room_beside(lab: Lab) -> bool:
    """Whether a smoke test on this machine is no trial's business."""
    names = lab.devices.all_names
    on_cpu = all(name.startswith("cpu") for name in names)
    return on_cpu and can_run_beside(len(names), lab.setting.threads)


def _smoke_test(lab: Lab, device: str, test_id: str, source: str) -> Trial:
    return smoke_test(
        source,
        setting=lab.setting,
        dataset=lab.dataset,
        device=device,
        folder=lab.folder / "smoke" / test_id,
        wall=lab.wall,
        stop=lab.abandon,
    )


def _keep(
    lab: Lab,
    asker: Asker,
    kind: SpanKind,
    span_id: str,
    device: str | None,
    began: float,
    clock: float,
) -> None:
    """Keep what an experiment's time has just gone into.

    It began at Unix time ``began``; ``clock`` is what the monotonic clock said then, for the other
    may have been put forward or back meanwhile.
    """
    if asker.experiment:
        lab.notebook.record_spans(
            Span(
                id=span_id,
                run=lab.run.id,
                experiment=asker.experiment,
                kind=kind,
                device=device,
                started=began,
                seconds=time.monotonic() - clock,
            )
        )


# --- broken devices -----------------------------------------------------------------------------


def _judge(lab: Lab, device: Lease, trial: Trial) -> None:
    """Set a device aside on which one source after the other comes to grief by no fault of its own.

    What a broken device says a broken train.py may say too: the baseline, which is not, tells.
    """
    if trial.outcome != "crashed" or not in_trouble(trial.reason):
        lab.devices.succeeded(device)
    elif lab.devices.failed(device, trial.source_sha):
        baseline = lab.notebook.source(lab.run.baseline_sha)
        if _smoke_test(lab, device, f"probe-{time.time_ns()}", baseline).outcome == "completed":
            lab.devices.succeeded(device)
        else:
            _set_aside(lab, device, trial.reason)


def _set_aside(lab: Lab, device: Lease, why: str) -> None:
    lab.devices.set_aside(device)
    left = ", ".join(lab.devices.names) or "none"
    lab.onlooker.note(f"{device} failed again and is set aside ({left} left): {why}")
