"""Patches: read, placed exactly or refused with the reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.sources import PIECES
from trainer.patch import (
    Edit,
    Patch,
    PatchError,
    apply_patch,
    blocks,
    diff,
    has_its_places,
    parse_patch,
    rewriting,
)


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def edited(*edits: tuple[str, str], source: str = PIECES) -> str:
    patch = Patch(edits=tuple(Edit(search=search, replace=replace) for search, replace in edits))
    return apply_patch(patch, source)


def refusal(*edits: tuple[str, str], source: str = PIECES) -> str:
    with pytest.raises(PatchError) as raised:
        edited(*edits, source=source)
    return str(raised.value)


# Reading a reply.


def test_a_block_and_a_summary_are_read() -> None:
    patch = parse_patch("SUMMARY: faster\n\n" + block("LR = 0.04  # Muon\n", "LR = 0.05\n"))
    assert patch == Patch(
        edits=(Edit(search="LR = 0.04  # Muon\n", replace="LR = 0.05\n"),), summary="faster"
    )


def test_the_same_patch_is_read_from_fences_file_names_and_windows_lines() -> None:
    change = block("a = 1\n", "a = 2\n")
    plain = parse_patch(f"Faster.\n{change}")
    dressed = f"Faster.\n\n**trainer/train.py**\n```python\n{change}```\nDone."
    named = f"train.py\n~~~\n{change}~~~\nFaster."
    assert parse_patch(dressed) == parse_patch(named) == plain
    assert parse_patch(dressed.replace("\n", "\r\n")) == plain


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("SUMMARY: raise the rate", "raise the rate"),
        ("I think so.\n**Summary:** raise the rate\n", "raise the rate"),
        ("\n```\n  raise   the rate\nmore", "raise the rate"),
        ("", ""),
        ("SUMMARY: " + "long " * 100, ("long " * 40)[:199] + "…"),
    ],
)
def test_the_summary_is_the_named_line_or_else_the_first(text: str, summary: str) -> None:
    assert parse_patch(text + "\n" + block("a\n", "b\n")).summary == summary


def test_several_blocks_are_read_in_order_and_an_empty_replace_is_a_deletion() -> None:
    patch = parse_patch(block("a\n", "") + "and\n" + block("b\nc\n", "\n"))
    assert patch.edits == (Edit(search="a\n", replace=""), Edit(search="b\nc\n", replace="\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Set LR to 0.05.", "No SEARCH/REPLACE block"),
        ("", "No SEARCH/REPLACE block"),
        ("x\n<<<<<<< SEARCH\na\n", "begins at line 2 of your reply is not finished"),
        ("<<<<<<< SEARCH\na\n=======\nb\n", "ends before its '>>>>>>> REPLACE'"),
        ("<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n", "broken by '>>>>>>> REPLACE' at line 3"),
        ("<<<<<<< SEARCH\na\n<<<<<<< SEARCH\n", "broken by '<<<<<<< SEARCH' at line 3"),
        ("<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE", "'=======' at line 5"),
        ("a\n=======\nb\n", "Line 2 of your reply, '=======', stands outside of a block"),
    ],
)
def test_a_reply_without_whole_blocks_is_refused_with_the_line(text: str, reason: str) -> None:
    with pytest.raises(PatchError) as raised:
        parse_patch(text)
    assert reason in str(raised.value)


# Placing the edits.


def test_edits_are_placed_in_the_original_whatever_their_order() -> None:
    result = edited(
        ("    return DEPTH * left\n", "    return DEPTH\n"),
        ("LR = 0.04  # Muon\nDEPTH = 4\n", "DEPTH = 6\nLR = 0.05\n"),
        ("import math\n", ""),
    )
    expected = PIECES.replace("import math\n", "").replace("DEPTH * left", "DEPTH")
    assert result == expected.replace("LR = 0.04  # Muon\nDEPTH = 4", "DEPTH = 6\nLR = 0.05")


def test_an_edit_does_not_match_what_another_one_has_put_there() -> None:
    result = edited(("LR = 0.04  # Muon", "DEPTH = 9"), ("DEPTH = 4", "LR = 0.04  # Muon"))
    assert "DEPTH = 9\nLR = 0.04  # Muon\n" in result


def test_the_last_line_can_be_edited_with_and_without_its_newline() -> None:
    assert edited(("b = 2", "b = 3"), source="a = 1\nb = 2\n") == "a = 1\nb = 3\n"
    assert edited(("b = 2", "b = 3"), source="a = 1\nb = 2") == "a = 1\nb = 3"
    assert edited(("b = 2\n", ""), source="a = 1\nb = 2\n") == "a = 1\n"
    assert edited(("a = 1\n", "\n"), source="a = 1\nb = 2\n") == "\nb = 2\n"


def test_other_line_separators_than_the_newline_do_not_end_a_line() -> None:
    source = "a = '\u2028'  # \x0c\nb = 2\n"
    assert edited(("b = 2", "b = 3"), source=source) == source.replace("b = 2", "b = 3")


def test_a_search_is_a_run_of_whole_lines() -> None:
    assert "matches nothing" in refusal(("LR = 0.04", "LR = 0.05"))
    assert "matches nothing" in refusal(("left = 1 - progress\n    return LR * left", "pass"))


def test_a_search_that_matches_nothing_is_shown_the_nearest_lines_with_their_numbers() -> None:
    said = refusal(("def rate(progress):\n  left = 1 - progress\n    return LR * left\n", "pass"))
    assert "SEARCH block 1 matches nothing" in said
    assert "     9 | def rate(progress):" in said
    assert "!   10 |     left = 1 - progress" in said
    assert "    11 |     return LR * left" in said
    assert "size" not in said


def test_a_search_like_nothing_in_the_file_is_told_so() -> None:
    assert refusal(("zzzzzz\nqqqqqq\n", "x")).endswith("No run of lines comes near it.")


def test_a_search_that_matches_twice_is_told_where() -> None:
    said = refusal(("import math", "import cmath"), ("    left = 1 - progress\n", "    left = 1\n"))
    assert "SEARCH block 2 matches 2 times, at lines 10, 15 of the file" in said


@pytest.mark.parametrize("search", ["", "\n", "  \n\n"])
def test_an_empty_search_is_told_how_to_insert(search: str) -> None:
    assert "SEARCH block 1 is empty" in refusal((search, "x = 1"))


def test_edits_that_overlap_are_refused_with_the_line() -> None:
    said = refusal(("LR = 0.04  # Muon\nDEPTH = 4", "a = 1"), ("DEPTH = 4", "DEPTH = 5"))
    assert "SEARCH blocks 1 and 2 overlap: both contain line 6" in said
    assert "overlap" in refusal(("DEPTH = 4", "DEPTH = 5"), ("DEPTH = 4", "DEPTH = 6"))


def test_a_patch_that_does_nothing_is_refused() -> None:
    assert "is empty" in refusal()
    assert "leaves the file as it is" in refusal(("DEPTH = 4", "DEPTH = 4"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("DEPTH = = 4", "invalid syntax, line 6: DEPTH = = 4"),
        ("    DEPTH = 4", "unexpected indent, line 6: DEPTH = 4"),
        ("DEPTH = '\0'", "null bytes"),
        ("DEPTH = '\ud800'", "surrogates"),
        ("DEPTH = " + "-" * 100_000 + "1", ""),
        ("DEPTH = 1" + " + 1" * 2_000, "recursion"),
    ],
)
def test_a_result_that_does_not_compile_is_refused_with_line_and_message(
    line: str, reason: str
) -> None:
    said = refusal(("DEPTH = 4", line))
    assert said.startswith("With the patch, train.py does not compile: ")
    assert reason in said
    assert len(said) < 500


# Telling what is between two versions.


@pytest.mark.parametrize(
    ("old", "new"),
    [(PIECES, PIECES.replace("0.04", "0.05")), ("a = 1", "a = 1\nb = 2"), ("", "a = 1\n")],
)
def test_git_can_apply_a_diff(old: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(old)
    command = ["git", "apply", "--unidiff-zero", "-"]
    subprocess.run(command, cwd=tmp_path, input=diff(old, new), text=True, check=True)
    assert (tmp_path / "train.py").read_text() == new


def test_equal_sources_have_no_diff() -> None:
    assert diff(PIECES, PIECES) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DEPTH = 4\n", "DEPTH = 5\n"),
        ("DEPTH = 4\n", ""),
        ("DEPTH = 4\n", "DEPTH = 4\nWIDTH = 4\nHEADS = 2\n"),
        ("import math\n", "import math\nimport math\n"),
        ("    return LR * left\n", "    return LR * left\n\n\nLAST = 1\n"),
    ],
)
def test_the_patch_that_makes_one_version_of_another_does_just_that(old: str, new: str) -> None:
    assert old in PIECES
    other = PIECES.replace(old, new, 1)
    patch = rewriting(PIECES, other, "as it was")
    assert apply_patch(patch, PIECES) == other
    assert len(patch.edits[0].search) < len(PIECES) / 2
    assert parse_patch(f"SUMMARY: as it was\n{blocks(patch)}\n") == patch
    assert apply_patch(rewriting(other, PIECES, ""), other) == PIECES


def test_there_is_no_patch_between_equals() -> None:
    with pytest.raises(PatchError, match="leaves the file as it is"):
        rewriting(PIECES, PIECES, "")


def test_whether_a_patch_has_its_places_is_known_without_applying_it() -> None:
    source = "a = 1\nb = 2\nb = 2\n"
    once, twice, nowhere = (Edit(search=text, replace="c") for text in ("a = 1", "b = 2", "d"))
    assert has_its_places(Patch(edits=(once,)), source)
    assert not has_its_places(Patch(edits=(once, twice)), source)
    assert not has_its_places(Patch(edits=(once, nowhere)), source)
