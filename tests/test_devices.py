"""Leases: exclusive among threads, processes and labs, in order, held by whoever inherits them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from org.config_reading import load_config
from org.onlooker import Nobody
from org.opening import open_lab
from org.repeating import repeat
from tests.organizations import Organization, eventually
from trainer import devices
from trainer.devices import Devices, LeaseAbandoned, NoDeviceLeft, find_devices


def waiting(pool: Devices, count: int) -> None:
    """Return when so many stand in line."""
    while len(pool._line) < count:
        time.sleep(0.001)


def test_a_device_is_never_leased_twice_and_all_are_used(tmp_path: Path) -> None:
    pool = Devices(["cpu:0", "cpu:1"], tmp_path)
    held: set[str] = set()
    used: set[str] = set()
    trouble: list[str] = []
    both = threading.Barrier(2)

    def work() -> None:
        for turn in range(20):
            with pool.lease() as device:
                if device in held:
                    trouble.append(device)
                held.add(device)
                used.add(device)
                if turn == 0:
                    both.wait()  # two leases at the same time, or this never ends
                held.remove(device)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not trouble and used == {"cpu:0", "cpu:1"}


def test_first_come_first_served(tmp_path: Path) -> None:
    pool = Devices(["cpu:0"], tmp_path)
    served: list[int] = []

    def ask(number: int) -> None:
        with pool.lease():
            served.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    with pool.lease():
        for number, thread in enumerate(threads):
            thread.start()
            waiting(pool, number + 1)
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_what_takes_seconds_goes_before_what_takes_a_trials_time(tmp_path: Path) -> None:
    pool = Devices(["cpu:0"], tmp_path)
    served: list[bool] = []

    def ask(short: bool) -> None:
        with pool.lease(short=short):
            served.append(short)

    threads = [threading.Thread(target=ask, args=[short]) for short in (False, False, True)]
    with pool.lease():
        for thread in threads:
            thread.start()
        while len(pool._line) + len(pool._short_line) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert served == [True, False, False]


def test_an_urgent_candidate_goes_before_others_and_before_nothing_else(tmp_path: Path) -> None:
    pool = Devices(["cpu:0"], tmp_path)
    served: list[str] = []
    asked = {
        "candidate 1": False,
        "certification": None,
        "candidate 2": False,
        "candidate 3": False,
        "urgent 1": True,
        "urgent 2": True,
        "candidate 4": False,
    }

    def ask(who: str) -> None:
        with pool.lease(urgent=asked[who]):
            served.append(who)

    def test_something() -> None:
        with pool.lease(short=True):
            served.append("smoke test")

    threads = [threading.Thread(target=ask, args=[who]) for who in asked]
    threads.append(threading.Thread(target=test_something))
    with pool.lease():
        for number, thread in enumerate(threads, start=1):
            thread.start()
            while len(pool._line) + len(pool._short_line) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert served == [
        *("smoke test", "candidate 1", "certification", "urgent 1", "urgent 2"),
        *("candidate 2", "candidate 3", "candidate 4"),
    ]


def test_a_device_is_suspected_when_different_sources_fail_there_in_a_row(tmp_path: Path) -> None:
    pool = Devices(["cuda:0"], tmp_path)
    assert not pool.failed("cuda:0", "one source")
    assert not pool.failed("cuda:0", "one source")
    pool.succeeded("cuda:0")
    assert not pool.failed("cuda:0", "another")
    assert pool.failed("cuda:0", "a third")


def test_trials_that_are_lost_in_a_row_are_counted_apart_from_sources_that_fail(
    tmp_path: Path,
) -> None:
    pool = Devices(["cuda:0"], tmp_path)
    assert not pool.failed("cuda:0", "one source")
    assert not pool.lost("cuda:0")
    pool.succeeded("cuda:0")
    assert not pool.lost("cuda:0")
    assert pool.lost("cuda:0")


def test_a_device_that_was_set_aside_is_given_to_nobody(tmp_path: Path) -> None:
    pool = Devices(["cpu:0", "cpu:1"], tmp_path)
    pool.set_aside("cpu:0")
    with pool.lease() as device:
        assert device == "cpu:1"
        pool.set_aside("cpu:1")
    with pytest.raises(NoDeviceLeft), pool.lease():
        pass


def test_a_wait_can_be_stopped_and_leaves_the_line(tmp_path: Path) -> None:
    pool, stop = Devices(["cpu:0"], tmp_path), threading.Event()

    def give_up() -> None:
        waiting(pool, 1)
        stop.set()

    with pool.lease():
        threading.Thread(target=give_up).start()
        with pytest.raises(LeaseAbandoned), pool.lease(stop):
            pass
    with pool.lease() as device:
        assert device == "cpu:0"


def test_a_lease_ends_with_an_error_in_its_block(tmp_path: Path) -> None:
    pool = Devices(["cpu:0"], tmp_path)
    with pytest.raises(ZeroDivisionError), pool.lease():
        _ = 1 / 0
    with pool.lease() as device:
        assert device == "cpu:0"


def test_a_process_that_inherits_a_lease_keeps_the_device_from_everyone_else(
    tmp_path: Path,
) -> None:
    names = ["cpu:0", "cpu:1"]
    with Devices(names, tmp_path).lease() as device:
        survivor = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[device.lock]
        )
    after = Devices(names, tmp_path)
    with after.lease() as other:
        assert (device, other) == ("cpu:0", "cpu:1")
    survivor.communicate(b"\n")
    with after.lease() as other:
        assert other == "cpu:0"


# --- several labs on one machine -----------------------------------------------------------------


class Told(list[str]):
    """What a lab was told, and a way to wait for it."""

    def first(self) -> str:
        eventually(lambda: self)
        return self[0]


def test_a_lab_that_waits_for_anothers_device_says_whose_and_has_it_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "SAID_FROM_SECONDS", 0.0)
    told, names = Told(), ["cuda:0"]
    one = Devices(names, tmp_path, lab=Path("/labs/one"))
    other = Devices(names, tmp_path, lab=Path("/labs/other"), told=told.append)

    def ask() -> str:
        with other.lease() as device:
            return device

    with ThreadPoolExecutor(1) as pool:
        with one.lease():
            asked = pool.submit(ask)
            assert told.first() == (
                f"waiting for cuda:0, which process {os.getpid()} (lab /labs/one) uses"
            )
        assert asked.result() == "cuda:0"


def test_a_wait_for_another_lab_is_told_seldom_and_one_for_a_thread_of_ours_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    one, other = (Devices(["cpu:0"], tmp_path, told=told.append) for _ in range(2))
    with one.lease():
        assert other._take() is None
        waited = [other._news(seconds) for seconds in range(100)]
        assert [seconds for seconds, news in enumerate(waited) if news] == [10, 20, 40, 80]
        assert one._take() is None
        assert one._news(1000.0) == ""
    other._give_up_places()


def test_a_lab_whose_device_another_holds_takes_the_one_that_is_free(tmp_path: Path) -> None:
    one, other = (Devices(["cpu:0", "cpu:1"], tmp_path) for _ in range(2))
    with one.lease() as first, other.lease() as second:
        assert (first, second) == ("cpu:0", "cpu:1")
    with other.lease() as device:  # and keeps no place in the line of the other
        assert device == "cpu:0"


def test_a_lab_that_leases_a_device_over_and_over_lets_another_have_it_in_between(
    tmp_path: Path,
) -> None:
    busy, other = (Devices(["cpu:0"], tmp_path) for _ in range(2))
    served: list[str] = []

    def ask(lab: Devices, name: str) -> None:
        with lab.lease():
            served.append(name)

    with ThreadPoolExecutor(3) as pool:
        with busy.lease():
            asked = [pool.submit(ask, busy, "busy") for _ in range(2)]
            waiting(busy, 2)
            asked.append(pool.submit(ask, other, "other"))
            eventually(lambda: other._places)
        for each in asked:
            each.result()
    assert served == ["other", "busy", "busy"]


def test_who_is_stopped_while_another_lab_has_the_device_is_in_nobodys_way(
    tmp_path: Path,
) -> None:
    one, stopped, third = (Devices(["cpu:0"], tmp_path) for _ in range(3))
    stop = threading.Event()
    with one.lease():
        threading.Thread(target=lambda: (waiting(stopped, 1), stop.set())).start()
        with pytest.raises(LeaseAbandoned), stopped.lease(stop):
            pass
    with third.lease() as device:
        assert device == "cpu:0"


class Hearing(Nobody):
    """An onlooker of whom only notes are wanted."""

    def __init__(self) -> None:
        self.told = Told()

    def note(self, text: str) -> None:
        self.told.append(text)


def test_two_labs_share_the_devices_of_the_machine_so_does_the_noise_that_is_measured(
    organize: Callable[..., Organization], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "SAID_FROM_SECONDS", 0.0)
    organization, heard, told = organize(script=[]), Hearing(), Told()
    config = load_config(organization.config_path)
    with (
        open_lab(config, tmp_path / "first", Nobody()) as first,
        open_lab(config, tmp_path / "second", heard) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        with first.devices.lease():
            threading.Thread(target=lambda: (heard.told.first(), second.stop.set())).start()
            with pytest.raises(LeaseAbandoned), second.devices.lease(second.stop):
                pass
            uses = f"waiting for cpu:0, which process {os.getpid()} (lab {tmp_path}/first) uses"
            assert heard.told[0] == uses
            repeating = pool.submit(repeat, config, tmp_path / "third", 1, told.append)
            eventually(lambda: uses in told)
        assert [len(one.scores) for one in repeating.result()] == [1] * 4


def test_devices_need_names_each_once(tmp_path: Path) -> None:
    for names in ([], ["cpu:0", "cpu:0"]):
        with pytest.raises(ValueError, match="each once"):
            Devices(names, tmp_path)


def test_there_is_a_slot_for_every_core_or_as_many_as_trials_have_threads_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "available_cores", lambda: [2, 3, 5, 7, 9])
    assert find_devices("cpu") == [f"cpu:{slot}" for slot in range(5)]
    assert find_devices("cpu", threads=2) == ["cpu:0", "cpu:1"]
    assert find_devices("cpu", threads=16) == ["cpu:0"]


def test_the_devices_found_are_those_that_torch_can_use() -> None:
    import torch

    found = find_devices()
    if torch.cuda.is_available():
        assert len(found) == torch.cuda.device_count() and found[0].startswith("cuda:")
    else:
        assert found[0] == "cpu:0" and find_devices("cuda") == []
