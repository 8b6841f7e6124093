"""What language models cost, by the table beside this module; unknown is None and never 0."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

from roles.endpoint import endpoint_url
from roles.model import ModelError

Price = tuple[float, float]  # dollars per million tokens, of prompt and of reply

TABLE = Path(__file__).with_name("prices.yaml")
_DATED = re.compile(r"-(\d{4}-\d\d-\d\d|\d{8})$")


@cache
def price_table() -> dict[str, dict[str, Price]]:
    """All known prices, by base URL and model."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["endpoints"]
    return {
        url: {model: (float(read), float(written)) for model, (read, written) in models.items()}
        for url, models in table.items()
    }


def price_of(model: str, base_url: str | None) -> Price | None:
    """The price of a model at an endpoint; None if the table does not know it.

    A name with a date, such as gpt-4o-2024-08-06, costs what the name without it does, unless it
    stands in the table itself. Of another endpoint's model with the same name nothing is known.
    """
    try:
        known = price_table().get(endpoint_url(base_url), {})
    except ModelError:
        return None
    return known.get(model) or known.get(_DATED.sub("", model))


def dollars(price: Price, prompt_tokens: int, reply_tokens: int) -> float:
    """What so many tokens cost."""
    return (prompt_tokens * price[0] + reply_tokens * price[1]) / 1e6
