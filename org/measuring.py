"""What a lab does with its devices: waits for one, smoke-tests, runs trials, sets broken ones aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from org.lab import Lab, LabError, Stopped
from org.notebook import Span, SpanKind
from org.timings import spans_of
from trainer.devices import Lease, LeaseAbandoned, NoDeviceLeft
from trainer.smoke import can_run_beside, smoke_test
from trainer.trial import Trial, TrialAbandoned, TrialLost, annul, run_trial

LOSSES_PER_TRIAL = 3  # so often a trial that was lost is begun again, on whatever device is free

T = TypeVar("T")


class DeviceBroken(TrialLost):
    """The baseline fails there too, so what ran says nothing of its source; it is set aside."""


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
    lost, losses = "", 0
    while losses < LOSSES_PER_TRIAL:
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
                except DeviceBroken as error:
                    lost = str(error)  # no loss of the trial's: there are so many devices, no more
                except TrialLost as error:
                    lost, losses = str(error), losses + 1
                    if lab.devices.lost(device):
                        set_aside(lab, device, lost)
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
        DeviceBroken: the device has proven to be; the trial is as if it had never been.
    """
    lab.onlooker.doing(asker.desk, asker.what, lab.setting.seconds)
    folder = lab.folder / "trials" / trial_id
    began, clock = time.time(), time.monotonic()
    trial = run_trial(
        source,
        seed=seed,
        setting=lab.setting,
        dataset=lab.dataset,
        device=device,
        folder=folder,
        wall=lab.wall,
        precedence=lab.config.precedence,
        audit=audit,
        stop=lab.abandon,
    )
    held_seconds = time.monotonic() - clock
    is_void = _is_broken(lab, device, trial)
    span_id = annul(folder).name if is_void else trial_id
    with lab.notebook.transaction():
        lab.notebook.record_spans(
            *spans_of(trial, span_id, lab.run.id, asker.experiment, began, held_seconds)
        )
        lab.keep_time()
    if is_void:
        raise DeviceBroken(trial.reason)
    return trial


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
    lost = ""
    for _ in range(LOSSES_PER_TRIAL):
        with lab.beside:
            try:
                return try_out_on(lab, asker, None, test_id, source)
            except TrialAbandoned:
                raise Stopped from None
            except TrialLost as error:
                lost = str(error)
    raise LabError(lost)


def try_out_on(lab: Lab, asker: Asker, device: Lease | None, test_id: str, source: str) -> Trial:
    """See whether a source runs, on this device or (None) on some core.

    Raises:
        TrialAbandoned, TrialLost: see `trainer.smoke.smoke_test`.
        DeviceBroken: see `measure`.
    """
    lab.onlooker.doing(asker.desk, f"{asker.what}: smoke test")
    began, clock = time.time(), time.monotonic()
    trial = _smoke_test(lab, device or "cpu", test_id, source)
    _keep(lab, asker, "smoke-tested", f"{test_id}/smoke-tested", device, began, clock)
    if device and _is_broken(lab, device, trial):
        raise DeviceBroken(trial.reason)
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


def _is_broken(lab: Lab, device: Lease, trial: Trial) -> bool:
    """Whether a device has proven, with this trial, to be what is at fault; it is set aside then.

    What a broken device says a broken train.py may say too, or nothing at all: so no words tell,
    but the baseline, which is not broken. It is run where one source after the other fails, or one
    that has completed before. A trial that was found again may be of another device.
    """
    if trial.device != device:
        return False
    if trial.outcome == "completed":
        lab.devices.succeeded(device)
        return False
    is_second = lab.devices.failed(device, trial.source_sha)
    if not is_second and lab.notebook.latest_trial(trial.source_sha) is None:
        return False
    if _runs_baseline(lab, device):
        lab.devices.succeeded(device)
        return False
    set_aside(lab, device, trial.reason)
    return True


def _runs_baseline(lab: Lab, device: Lease) -> bool:
    baseline, test_id = lab.notebook.source(lab.run.baseline_sha), f"probe-{time.time_ns()}"
    try:
        return _smoke_test(lab, device, test_id, baseline).outcome == "completed"
    except TrialLost:
        return False


def set_aside(lab: Lab, device: str, why: str) -> None:
    """Give a device to nothing any more, and say so."""
    lab.devices.set_aside(device)
    left = ", ".join(lab.devices.names) or "none"
    lab.onlooker.note(f"{device} failed again and is set aside ({left} left): {why}")
