"""A run never spends more than it may, and whoever can only not pay at this moment waits."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from roles.model import AskAbandoned
from roles.purse import BudgetSpent, Purse
from tests.organizations import PATIENCE_SECONDS


def pay(purse: Purse, most: float, dollars: float) -> None:
    with purse.open(most) as bill:
        bill.dollars = dollars


def test_without_a_cap_nothing_is_refused_and_what_is_spent_is_known() -> None:
    purse = Purse()
    pay(purse, 100.0, 70.0)
    with purse.open(None):
        pass
    assert (purse.spent, purse.is_empty, purse.short) == (70.0, False, "")


def test_who_could_pay_but_for_what_others_have_set_aside_waits_for_them() -> None:
    purse, paid = Purse(1.0), threading.Event()

    def other() -> None:
        pay(purse, 0.6, 0.1)
        paid.set()

    with ThreadPoolExecutor(1) as pool:
        with purse.open(0.6) as bill:
            turn = pool.submit(other)
            assert not paid.wait(0.2)
            bill.dollars = 0.2
        turn.result(PATIENCE_SECONDS)
    assert purse.spent == pytest.approx(0.3)
    assert not purse.short


def test_what_will_never_fit_is_refused_at_once_whatever_is_under_way() -> None:
    purse = Purse(1.0, spent=0.5)
    with (
        purse.open(0.2),
        pytest.raises(BudgetSpent, match=r"\$0\.5000 of \$1 are spent.*up to \$0\.6000"),
        purse.open(0.6),
    ):
        pass
    assert purse.is_empty
    pay(purse, 0.5, 0.5)  # what is smaller still fits, to the last cent
    assert purse.spent == 1.0


def test_once_a_stop_was_asked_for_nobody_waits() -> None:
    stop = threading.Event()
    purse = Purse(1.0, stop=stop)
    stop.set()
    with purse.open(0.6), pytest.raises(AskAbandoned):
        pay(purse, 0.6, 0.1)
    assert purse.spent == 0.0


def test_many_at_once_never_spend_more_than_the_cap_and_all_come_to_an_end() -> None:
    purse, lock = Purse(1.0), threading.Lock()
    under_way: list[float] = []
    bills: list[float] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        with pytest.raises(BudgetSpent):
            while True:
                most = chance.uniform(0.01, 0.3)
                with purse.open(most) as bill:
                    with lock:
                        under_way.append(most)
                        assert sum(bills) + sum(under_way) <= 1.0 + 1e-9
                    bill.dollars = chance.choice([0.0, 0.1, 1.0]) * most
                    with lock:
                        under_way.remove(most)
                        bills.append(bill.dollars)

    with ThreadPoolExecutor(8) as pool:
        for turn in [pool.submit(work, seed) for seed in range(8)]:
            turn.result(PATIENCE_SECONDS)
    assert sum(bills) == pytest.approx(purse.spent)
    assert 0.7 < purse.spent <= 1.0
