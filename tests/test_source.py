"""Sources as programs: read in pieces that come to the whole, and told apart by what they do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.sources import PIECES
from trainer.source import compile_source, normalized_sha, pieces, source_sha

TRAIN = (Path(__file__).parents[1] / "trainer" / "train.py").read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LR = 0.04  # Muon\n", "LR = 0.04\n\n"),
        ("LR = 0.04  # Muon", "LR = 4e-2  # a comment\n"),
        ('"""A model."""', '"""Another model, described at length."""'),
        ('"""A model."""\n', ""),
        ("    return LR * left\n", '    """The rate."""\n    return (\n        LR * left\n    )\n'),
        ("import math\n", "import math\npass\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_make_another_program(old: str, new: str) -> None:
    assert old in PIECES
    other = PIECES.replace(old, new, 1)
    assert normalized_sha(other) == normalized_sha(PIECES)
    assert source_sha(other) != source_sha(PIECES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.04", "0.041"),
        ("return LR * left", "return left * LR"),
        ("    return LR * left", "    LR * left"),
        ("DEPTH = 4", "DEPTH = '4'"),
    ],
)
def test_what_does_something_else_is_another_program(old: str, new: str) -> None:
    assert normalized_sha(PIECES.replace(old, new)) != normalized_sha(PIECES)


def test_a_function_of_a_docstring_alone_is_one_that_passes() -> None:
    assert normalized_sha('def f():\n    """Nothing."""') == normalized_sha("def f(): pass")


@pytest.mark.parametrize(
    "source",
    [
        PIECES,
        TRAIN,
        "",
        "\n\n\na = 1",
        "# a comment\n\n\n'a docstring'\n\n\na = 1; b = 2\n\n\n@cache\ndef f(): pass\n",
        "a = 1\n\n\nif a:\n    b = 2\n\n\nelse:\n    b = 3\n",
        "a = 1\n\n\n@cache\n\n\ndef f(): pass\n",
        "a = 1\n\n\nb = '''\n\n\nc = 3\n\n\n'''\n",
        "a = 1\n\n\nb = [\n\n\n2]\n\n\nc = 3 \\\n\n\nd = 4\n",
    ],
)
def test_the_pieces_of_a_source_have_its_statements_at_their_lines(source: str) -> None:
    parts = pieces(source)
    assert "\n\n\n".join(part.text for part in parts) == source
    found = []
    for part in parts:
        assert part.statements_before == len(found)
        found += ast.parse("\n" * part.lines_before + part.text).body
    whole = ast.Module(found, [])
    assert ast.dump(whole, include_attributes=True) == ast.dump(
        ast.parse(source), include_attributes=True
    )


def test_a_train_py_as_formatters_leave_it_is_many_pieces() -> None:
    assert len(pieces(PIECES)) == 3
    assert len(pieces(TRAIN)) > 30


def test_a_program_has_the_same_hash_in_one_piece_and_in_several() -> None:
    together = TRAIN.replace("\n\n\n", "\n\n")
    assert len(pieces(together)) == 1
    assert normalized_sha(together) == normalized_sha(TRAIN)


@pytest.mark.parametrize(
    "source",
    [
        "a = 1\n\n\nglobal a\n",
        "a: int = 1\n\n\ndef f():\n    a = 1\n    global a\n",
        "a = 1\n\n\nfrom __future__ import annotations\n",
        "from __future__ import annotations\n\n\na: (yield) = 1\n",
        "a = 1\n\n\nreturn a\n",
        "a = 1\n\n\nawait a\n",
        "a = 1\n\n\nb = = 2\n",
    ],
)
def test_what_python_does_not_compile_is_refused_as_python_says_it(source: str) -> None:
    with pytest.raises(SyntaxError) as by_python:
        compile(source, "train.py", "exec", dont_inherit=True)
    with pytest.raises(SyntaxError) as by_pieces:
        compile_source(source)
    assert by_pieces.value.args == by_python.value.args


@pytest.mark.parametrize(
    "source",
    [PIECES, TRAIN, "", "def f():\n    global a\n    a = 1\n\n\na = 2\n"],
)
def test_what_python_compiles_is_not_refused(source: str) -> None:
    compile_source(source)
