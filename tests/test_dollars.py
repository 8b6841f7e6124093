"""Whole organizations whose dollars are few: the cap holds, and what it ends is said."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from org.running import run_here
from tests.openai_server import Body, OpenAIServer, Turn, asked_for
from tests.organizations import Organization, Organize, of_few_words, work

MOST = 0.1  # dollars that one request may cost: 1,000 tokens at 100 dollars a million


def replies(tokens: int, delay_seconds: float = 0.0) -> Callable[[Body], Turn]:
    """What a language model says whose every reply has so many tokens, and which approves of nothing."""

    def answer(body: Body) -> Turn:
        text = of_few_words(asked_for(body), 0.1)
        return Turn(text, usage=(50, tokens), delay_seconds=delay_seconds)

    return answer


def organized(organize: Organize, server: OpenAIServer, dollars: float) -> Organization:
    """Two desks, and an experiment for each; what is read costs nothing."""
    model = {"name": "openai:test", "base_url": server.url, "price": [0, 100], "max_tokens": 1000}
    budget = {"experiments": 2, "dollars": dollars}
    return organize(attempts=1, model=model, more={"desks": 2, "budget": budget})


def spent(organization: Organization) -> float:
    with organization.notebook() as notebook:
        return notebook.dollars_at_most(notebook.runs()[-1].id)


def test_a_shortage_that_passes_holds_a_desk_up_and_no_more(organize: Organize) -> None:
    """There is enough for one request under way: each is sent after the one before has come."""
    with OpenAIServer(replies(1, delay_seconds=0.2)) as server:
        organization = organized(organize, server, 1.5 * MOST)
        assert work(organization).reasons == []
        sent = [request.at for request in server.requests]
    assert [organization.experiment(n).decision for n in (1, 2)] == ["discard"] * 2
    assert len(sent) >= 8
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(sent))


def test_the_cap_is_hard_with_two_desks_and_the_end_is_said(
    organize: Organize, capsys: pytest.CaptureFixture[str]
) -> None:
    with OpenAIServer(replies(1000, delay_seconds=0.2)) as server:
        organization = organized(organize, server, 3.5 * MOST)
        assert run_here(organization.config_path, organization.lab) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert len(server.chats) == 3
        assert spent(organization) == pytest.approx(3 * MOST)
        assert (
            "No further call fits into budget.dollars: $0.3000 of $0.35 are spent,"
            " and the next request may cost up to $0.1000" in said
        )

        organization.more["budget"]["dollars"] = 5
        organization.write()
        assert work(organization).reasons == []
    assert [organization.experiment(n).decision for n in (1, 2)] == ["discard"] * 2


def test_a_run_that_can_ask_nothing_says_so_and_does_not_pass_for_a_success(
    organize: Organize, capsys: pytest.CaptureFixture[str]
) -> None:
    with OpenAIServer(replies(1)) as server:
        organization = organized(organize, server, MOST / 2)
        assert run_here(organization.config_path, organization.lab) == 1
        assert not server.chats
    said = " ".join(capsys.readouterr().out.split())
    assert "$0.0000 of $0.05 are spent, and the next request may cost up to $0.1000" in said
