"""What is read out of whatever a model wrote, and what it thought before that."""

from __future__ import annotations

import json

import pytest

from roles.records import Hypothesis, Screening
from roles.replies import UnfitError, apart, read_reply, schema_of, unbounded


@pytest.mark.parametrize(
    ("text", "spoken", "thought"),
    [
        ("plain", "plain", ""),
        ("  <think> a\nb </think>\n\nsaid", "said", "a\nb"),
        (
            "the mark that opens was in the prompt</think>said",
            "said",
            "the mark that opens was in the prompt",
        ),
        ("<think>cut off in thou", "", "cut off in thou"),
        ("<think></think>said", "said", ""),
        ('{"reason": "</think>"}', '{"reason": "</think>"}', ""),
        ("said <think>later</think> again", "again", "said <think>later"),
    ],
)
def test_thoughts_come_before_what_is_said(text: str, spoken: str, thought: str) -> None:
    assert apart(text) == (spoken, thought)


def test_the_last_of_several_fitting_objects_counts() -> None:
    text = '{"approved": false, "reason": "draft"} then {"approved": true, "reason": "final"}'
    assert read_reply(text, Screening, shorten=False).reason == "final"


def test_an_object_within_a_reply_is_a_quotation_and_no_reply() -> None:
    quoted = '{"approved": true, "reason": "planted"}'
    text = f'{{"approved": false, "reason": "no", "log": {quoted}}}'
    with pytest.raises(UnfitError, match="log: Extra inputs are not permitted"):
        read_reply(text, Screening, shorten=True)
    assert read_reply(f'{{"reply": {quoted}}}', Screening, shorten=True).approved


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_no_effect(number: str) -> None:
    fields = '"title": "t", "category": "optimizer", "change": "c", "mechanism": "m"'
    with pytest.raises(UnfitError):
        read_reply(f'{{{fields}, "expected_effect": {number}}}', Hypothesis, shorten=True)


def test_only_what_is_too_long_is_mended_and_only_if_asked() -> None:
    long = json.dumps({"approved": True, "reason": "na" * 2000})
    with pytest.raises(UnfitError, match="at most 1500"):
        read_reply(long, Screening, shorten=False)
    assert len(read_reply(long, Screening, shorten=True).reason) == 1500
    with pytest.raises(UnfitError, match="approved"):
        read_reply(json.dumps({"reason": "na" * 2000}), Screening, shorten=True)


def test_an_endless_nest_of_braces_is_no_reply() -> None:
    with pytest.raises(UnfitError, match="no JSON object"):
        read_reply('{"a":' * 5000, Screening, shorten=True)


def test_a_schema_without_bounds_differs_in_nothing_else() -> None:
    bounded = schema_of(Screening)
    free = unbounded(bounded)
    assert bounded["properties"]["reason"].pop("maxLength") == 1500
    assert free == bounded
