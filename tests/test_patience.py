"""Trouble that passes is waited out, by a clock that only waiting moves; what does not is said."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from roles import endpoint
from roles.chat import ChatModel
from roles.model import AskAbandoned, ModelRefused
from roles.patience import Patience
from roles.records import Prose, Screening
from tests.chats import BRIEF, GOOD, Clock, failure, model_at, ways
from tests.openai_server import Body, OpenAIServer, Turn

Answers = Callable[[Body], Turn | str]


@pytest.fixture
def clock() -> Iterator[Clock]:
    yield Clock()


def until(clock: Clock, seconds: float, trouble: Turn) -> Answers:
    """An endpoint in trouble until so many seconds have passed."""
    return lambda body: GOOD if clock.now >= seconds else trouble


@pytest.mark.parametrize(
    "trouble",
    [
        Turn("slow down", status=429),
        Turn("oh no", status=500),
        Turn("loading model", status=503),
        Turn("come again", status=409),
        Turn(drop=True),
    ],
)
def test_passing_trouble_is_waited_out(trouble: Turn, clock: Clock) -> None:
    with OpenAIServer([trouble, GOOD]) as server:
        answer = model_at(server, patience=clock.patience()).ask(BRIEF, Screening)
    assert answer.reply.approved
    assert ways(server) == ["json_schema"] * 2
    assert answer.waited_seconds == clock.now > 0
    assert clock.said == []


def test_an_endpoint_that_is_down_for_an_hour_is_waited_for_and_that_is_said(clock: Clock) -> None:
    with OpenAIServer(until(clock, 3600, Turn("away", status=503))) as server:
        patience = clock.patience()
        model = model_at(server, patience=patience)
        answer = model.ask(BRIEF, Screening)
    assert 3600 <= answer.waited_seconds < 3700
    assert patience.uncharged_seconds() == answer.waited_seconds
    assert clock.said[0].startswith(f"{model.name}: out of order (HTTP 503: away); waiting ")
    assert re.search("answers again, after 6[01] min$", clock.said[-1])
    assert 5 < len(clock.said) < 12
    assert max(clock.pauses) <= 60
    assert ways(server) == ["json_schema"] * len(server.chats)


def test_nobody_there_is_waited_for_until_somebody_is(clock: Clock) -> None:
    with OpenAIServer([]) as server:
        url = server.url
    error = failure(ChatModel("m", base_url=url, patience=clock.patience(seconds=600)))
    assert "no connection: " in str(error)
    assert "refused; given up after 9 min" in str(error) or "given up after 10 min" in str(error)
    assert error.cost
    assert error.cost.replies == 0
    assert 500 < error.cost.waited_seconds <= 600


def test_pauses_double_and_no_two_desks_make_the_same_ones() -> None:
    clocks = [Clock(), Clock()]
    for clock in clocks:
        with OpenAIServer(until(clock, 40, Turn(status=502))) as server:
            model_at(server, patience=clock.patience()).ask(BRIEF, Screening)
        for number, pause in enumerate(clock.pauses):
            assert 0.5 * 2**number <= pause <= 2**number
    assert clocks[0].pauses[:4] != clocks[1].pauses[:4]


@pytest.mark.parametrize(
    "form", [str, lambda s: email.utils.formatdate(time.time() + s, usegmt=True)]
)
def test_an_endpoint_that_says_for_how_long_is_left_alone_for_so_long(
    form: Callable[[float], str], clock: Clock
) -> None:
    limited = Turn("slow down", status=429, headers={"Retry-After": form(90)})
    with OpenAIServer([limited, GOOD]) as server:
        patience = clock.patience()
        model_at(server, patience=patience).ask(BRIEF, Screening)
    assert len(clock.pauses) == 1
    assert 85 <= clock.pauses[0] <= 100
    assert patience.uncharged_seconds() == 0  # a limit is how an endpoint works
    assert "rate limit (HTTP 429: slow down); waiting " in clock.said[0]


@pytest.mark.parametrize("said", ["0", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_one_that_asks_for_no_time_at_all_is_asked_ever_less_often_as_well(
    said: str, clock: Clock
) -> None:
    limited = Turn("slow down", status=429, headers={"Retry-After": said})
    with OpenAIServer(until(clock, 40, limited)) as server:
        model_at(server, patience=clock.patience()).ask(BRIEF, Screening)
    assert len(clock.pauses) > 4
    for number, pause in enumerate(clock.pauses):
        assert 0.5 * 2**number <= pause <= 2**number


def test_one_that_wants_to_be_left_alone_for_too_long_is_given_up_at_once(clock: Clock) -> None:
    limited = Turn("tomorrow", status=429, headers={"Retry-After": "90000"})
    with OpenAIServer(lambda body: limited) as server:
        assert "given up after 0 s" in str(failure(model_at(server, patience=clock.patience())))
    assert clock.pauses == []


def test_a_stop_ends_the_wait(clock: Clock) -> None:
    stop = threading.Event()

    def answer(body: Body) -> Turn:
        if len(clock.pauses) == 3:
            stop.set()
        return Turn("away", status=503)

    with OpenAIServer(answer) as server:
        error = failure(model_at(server, patience=clock.patience(stop)))
    assert isinstance(error, AskAbandoned)
    assert len(clock.pauses) == 4


def test_a_stop_ends_a_real_wait_at_once() -> None:
    stop = threading.Event()
    stop.set()
    limited = Turn("slow down", status=429, headers={"Retry-After": "3600"})
    with OpenAIServer(lambda body: limited) as server:
        assert isinstance(failure(model_at(server, patience=Patience(stop))), AskAbandoned)


def test_a_key_that_is_revoked_during_a_run_is_a_refusal_that_keeps_the_ways_found() -> None:
    turns = [Turn(GOOD), Turn("revoked", status=401), Turn(GOOD)]
    with OpenAIServer(turns, supports={"tool"}) as server:
        model = model_at(server)
        model.ask(BRIEF, Screening)
        assert isinstance(failure(model), ModelRefused)
        model.ask(BRIEF, Screening)
    assert ways(server) == ["json_schema", "tool", "tool", "tool"]


def test_an_answer_that_never_comes_in_time_is_given_up_after_a_few(clock: Clock) -> None:
    with OpenAIServer(lambda body: Turn(GOOD, delay_seconds=60)) as server:
        model = model_at(server, timeout_seconds=0.2, patience=clock.patience(), price=(1.0, 1.0))
        error = failure(model)
    assert str(error).endswith("no answer within 0.2 s, 3 times")
    assert len(server.chats) == 3
    assert error.cost
    assert (error.cost.dollars, error.cost.prompt_tokens) == (None, None)


def test_an_endpoint_that_hangs_is_waited_for_and_not_charged(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes every connection and answers nothing, not even what models it has."""
    monkeypatch.setattr(endpoint, "LIST_SECONDS", 0.2)

    def come_back(stop: threading.Event, seconds: float) -> None:
        clock.pause(stop, seconds)
        server.hangs = clock.now < 120

    with OpenAIServer(lambda body: Turn(GOOD)) as server:
        server.hangs = True
        patience = Patience(say=clock.said.append, pause=come_back, clock=clock.time)
        model = model_at(server, timeout_seconds=0.5, patience=patience, price=(1.0, 1.0))
        answer = model.ask(BRIEF, Screening)
    assert answer.reply.approved
    assert clock.now >= 120
    assert patience.uncharged_seconds() == clock.now
    assert any("it hangs, and does not even list its models" in said for said in clock.said)
    assert answer.dollars is None  # what was lost may be billed


def test_an_internal_error_of_a_way_that_has_worked_is_waited_out(clock: Clock) -> None:
    with OpenAIServer(
        lambda body: GOOD if clock.now in (0.0,) or clock.now > 300 else Turn(status=500)
    ) as server:
        model = model_at(server, patience=clock.patience())
        model.ask(BRIEF, Screening)
        clock.now = 1.0
        model.ask(BRIEF, Screening)
    assert set(ways(server)) == {"json_schema"}


def test_time_in_which_several_wait_for_what_is_down_counts_once() -> None:
    clock = Clock()
    patience = clock.patience()
    with patience.uncharged():
        clock.now = 10.0
        with patience.uncharged():
            clock.now = 30.0
        clock.now = 40.0
        assert patience.uncharged_seconds() == 40.0
    clock.now = 100.0
    assert patience.uncharged_seconds() == 40.0


def test_how_long_an_endpoint_that_is_down_lets_an_attempt_wait_is_not_charged(
    clock: Clock,
) -> None:
    def black_hole(body: Body) -> Turn:
        clock.now += 15.0
        return Turn(GOOD) if clock.now >= 600 else Turn("away", status=503)

    with OpenAIServer(black_hole) as server:
        patience = clock.patience()
        model_at(server, patience=patience).ask(BRIEF, Screening)
    assert patience.uncharged_seconds() == pytest.approx(clock.now - 15.0)


def test_while_something_is_at_work_time_is_charged_and_no_time_is_forgiven_twice() -> None:
    clock = Clock()
    patience = clock.patience()
    with patience.uncharged(paused=True):
        clock.now = 10.0
        with patience.charged():
            clock.now = 30.0
        clock.now = 35.0
        assert (patience.uncharged_seconds(), patience.paused_seconds()) == (15.0, 15.0)
    with patience.uncharged():
        clock.now = 45.0
    clock.now = 50.0
    assert (patience.uncharged_seconds(), patience.paused_seconds()) == (25.0, 15.0)
    for _ in range(2):
        patience.forgive(0.0)
        assert patience.uncharged_seconds() == 30.0


def test_another_model_is_not_held_up_by_one_that_is_down() -> None:
    waiting, patient = threading.Event(), threading.Event()

    def pause(stop: threading.Event, seconds: float) -> None:
        waiting.set()
        assert patient.wait(60)

    with OpenAIServer([Turn(status=503), "late"]) as down, OpenAIServer(["words"]) as up:
        patience = Patience(pause=pause)
        slow, quick = model_at(down, patience=patience), model_at(up, patience=patience)
        said: list[str] = []
        desk = threading.Thread(target=lambda: said.append(slow.ask(BRIEF, Prose).text))
        desk.start()
        assert waiting.wait(60)
        said.append(quick.ask(BRIEF, Prose).text)
        patient.set()
        desk.join(60)
    assert said == ["words", "late"]
