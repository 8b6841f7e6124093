"""The drawn chart shows every place, person, model and way of CHART."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from org.config import Config
from org.config_reading import load_config
from org.graph import CHART, build_chart
from org.telling.drawing import mermaid, text

ADVISED = """\
program: program.md
train: train.py
model: playbook
roles:
  director: {prompt: p.md, model: "openai:big-model"}
  hypothesis:
    - {name: optimizer, prompt: p.md}
    - {name: architect, prompt: p.md, model: "openai:other<b>|model"}
  engineer: {prompt: p.md}
  reviewer: {prompt: p.md}
  advisers:
    - {name: skeptic, prompt: p.md, before: engineer}
    - {name: counsel, prompt: p.md, after: train}
budget: {experiments: 6}
"""


@pytest.fixture
def advised(tmp_path: Path) -> Config:
    (tmp_path / "org.yaml").write_text(ADVISED)
    return load_config(tmp_path / "org.yaml", to_run=False)


@pytest.mark.parametrize("draw", [text, mermaid])
def test_every_place_outcome_person_and_model_is_drawn(draw, advised: Config):
    drawn = draw(advised)
    outcomes = {outcome for ways in CHART.values() for outcome in ways}
    people = {role.name for role in advised.roles.everyone}
    for word in {*CHART, *outcomes, *people, "playbook", "openai:big-model"}:
        assert word in drawn


def test_the_drawn_ways_are_those_of_the_compiled_graph(advised: Config):
    ids = {"start": "__start__", "finish": "__end__"}
    drawn = set()
    for line in mermaid(advised).splitlines():
        here, arrow, rest = line.strip().partition(" -")
        if arrow and ">" in rest:
            drawn.add((here, rest.split()[-1]))
        elif '["<b>' in line:
            name, label = line.strip().split('["<b>')
            ids[name] = label.partition("</b>")[0]
    graph = build_chart(advised.roles).get_graph()
    assert {(ids[a], ids[b]) for a, b in drawn} == {(e.source, e.target) for e in graph.edges}


def test_what_goes_back_to_the_engineer_passes_the_adviser_before_it(advised: Config):
    assert re.search("edits fail ─+▶ skeptic", text(advised))


@pytest.mark.parametrize("name", ["skeptic", "architect", "counsel"])
def test_the_text_fits_80_columns_whatever_the_names(name: str, tmp_path: Path):
    (tmp_path / "org.yaml").write_text(ADVISED.replace(name, "x" * 40))
    drawn = text(load_config(tmp_path / "org.yaml", to_run=False))
    assert max(map(len, drawn.splitlines())) <= 80


def test_a_models_name_cannot_break_the_mermaid(advised: Config):
    drawn = mermaid(advised)
    assert "other<b>" not in drawn
    assert "|model" not in drawn
