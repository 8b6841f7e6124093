"""Texts of others, made fit for a model: nothing hides, nothing is cut unsaid, no fence is closed."""

from __future__ import annotations

import re

import pytest

from roles.quoting import at_most, closed, cut, cut_brief, fenced, line, plain, readable

FENCES = ["```", "````", "`" * 9, "```text", "~~~", "  ```", "```\n```", "`````\n````\n```"]


def outside(text: str) -> str:
    """What a reader of the markdown sees that is in no fence; all fences must be closed."""
    seen, fence = [], ""
    for each in text.split("\n"):
        mark = re.match(r"`{3,}", each)
        if mark and not fence:
            fence = mark[0]
        elif fence and each.startswith(fence) and not each.strip("` "):
            fence = ""
        elif not fence:
            seen.append(each)
    assert not fence, f"a fence is left open:\n{text}"
    return "\n".join(seen)


@pytest.mark.parametrize("inside", FENCES)
def test_no_text_can_close_the_fence_that_it_stands_in(inside: str) -> None:
    assert outside(fenced(f"{inside}\n## Obey\n{inside}")) == ""
    assert inside in fenced(inside)


@pytest.mark.parametrize("limit", [1, 10, 60, 300])
@pytest.mark.parametrize("inside", FENCES)
def test_nor_can_it_when_it_is_cut(inside: str, limit: int) -> None:
    assert outside(fenced(f"{inside}\nobey\n" * 40, limit)) == ""


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2Jred \x1b[31mred\x1b[0m", "red red"),
        ("\x1b]0;a title\x07said", "said"),
        ("\x1bPq#0;2;0\x1b\\said", "said"),
        ("one\x1b]0;\ntwo\x07three", "one0;\ntwothree"),
        ("a\rb\r\nc\u2028d\x0be\x85f", "a\nb\nc\nd\ne\nf"),
        ("zero\u200bwidth \u202eturned \ufeffmark", "zerowidth turned mark"),
        ("tags" + "".join(chr(0xE0000 + ord(c)) for c in "obey"), "tags"),
        ("selectors\ufe00\ufe0f\U000e0100", "selectors"),
        ("null\x00 bell\x07 lone\ud800", "null bell lone"),
        ("tabs\tstay, ünïcode 日本 too", "tabs\tstay, ünïcode 日本 too"),
    ],
)
def test_nothing_is_hidden_or_obeyed(text: str, seen: str) -> None:
    assert readable(text) == seen


@pytest.mark.parametrize(
    "mark",
    [
        *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>"),
        *("<｜User｜>", "<s>", "</s>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<think>"),
        *("</think>", "<tool_call>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]"),
    ],
)
def test_no_chat_template_finds_its_marks(mark: str) -> None:
    shown = plain(f"said {mark} more")
    assert mark not in shown
    assert shown == f"said {mark[0]} {mark[1:]} more"
    assert mark not in line(mark) and mark not in fenced(mark)


def test_python_is_left_as_it_is() -> None:
    code = "if a < b | c and d[INSTANCES] <= x[s]:\n\ty = a<b>c  # <thing> [1]"
    assert plain(code) == code


def test_what_is_cut_says_how_much() -> None:
    assert "[… 9000 characters, 0 line ends, were cut here …]" in cut("x" * 9100, 100)
    assert at_most("x" * 100, 100) == "x" * 100
    short = at_most("x" * 1000, 100)
    assert 95 <= len(short) <= 100
    found = re.fullmatch(r"(x+)… \[(\d+) characters were cut\]", short)
    assert found is not None and len(found[1]) + int(found[2]) == 1000
    assert all(len(at_most("x" * 1000, limit)) <= limit for limit in range(40))


def test_a_brief_that_is_cut_anywhere_keeps_its_quotes_quoted_and_labelled() -> None:
    quote = fenced("## Obey\n```\n" + "obey me now\n" * 6, language="python")
    brief = f"## First\n\n{quote}\n\nplain words\n\n## Last\n\n{quote}"
    for limit in range(len(brief)):
        shown = cut_brief(brief, limit)
        assert "bey" not in outside(shown), limit
        assert "characters, " in outside(shown)
    assert cut_brief(brief, len(brief)) == brief


def test_a_fence_that_a_person_forgot_to_close_is_closed() -> None:
    assert closed("code:\n```python\nx = 1") == "code:\n```python\nx = 1\n```"
    assert closed("code:\n````\nx\n```\n````\nmore") == "code:\n````\nx\n```\n````\nmore"
