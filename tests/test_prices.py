"""What the table of prices knows, and what it does not make up."""

from __future__ import annotations

import pytest

from roles.prices import dollars, price_of, price_table

OPENAI = "https://api.openai.com/v1"


def test_a_model_is_known_by_its_name_with_or_without_a_date() -> None:
    assert price_of("gpt-4o", None) == price_of("gpt-4o-2024-08-06", f"{OPENAI}/") == (2.5, 10.0)
    assert price_of("gpt-4o-2024-05-13", OPENAI) == (5.0, 15.0)


def test_a_price_belongs_to_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert price_of("gpt-4o", "http://127.0.0.1:8080/v1") is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1")
    assert price_of("gpt-4o", None) is None


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o-mini-audio", "", "gpt-4o-"])
def test_an_unknown_model_has_no_price(model: str) -> None:
    assert price_of(model, OPENAI) is None


def test_an_endpoint_that_is_none_has_no_price() -> None:
    assert price_of("gpt-4o", "nowhere") is None


def test_prices_are_per_million_of_prompt_and_reply() -> None:
    assert dollars((2.0, 8.0), 1_000_000, 500_000) == 6.0


def test_nothing_in_the_table_is_free_and_writing_costs_no_less_than_reading() -> None:
    assert len(price_table()) >= 7
    for models in price_table().values():
        assert all(0 < read <= written for read, written in models.values())
