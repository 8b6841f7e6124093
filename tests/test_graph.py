"""The chart is whole, drawn as it is, and shown as it is in the README."""

from pathlib import Path

from langgraph.graph import END

from org.config import AdviserConfig
from org.config_reading import load_config
from org.graph import CHART, NODES, build_chart, chart_of
from org.telling.drawing import edges, mermaid, text

REPOSITORY = Path(__file__).parent.parent
CONFIG = load_config(REPOSITORY / "org.yaml", to_run=False)


def with_advisers(**moments: dict[str, str]):
    """The default organization with advisers: name -> {"before": step} or {"after": step}."""
    prompt = CONFIG.roles.reviewer.prompt
    advisers = tuple(
        AdviserConfig.model_validate({"name": name, "prompt": str(prompt), **moment}, strict=False)
        for name, moment in moments.items()
    )
    return CONFIG.model_copy(
        update={"roles": CONFIG.roles.model_copy(update={"advisers": advisers})}
    )


def drawn(config) -> set[tuple[str, str]]:
    ways = {(come_from, to) for come_from, _, to in edges(config)}
    return {("__start__" if a == "START" else a, "__end__" if b == "END" else b) for a, b in ways}


def compiled(config) -> set[tuple[str, str]]:
    chart = build_chart(config.roles, approval=config.approval)
    return {(edge.source, edge.target) for edge in chart.get_graph().edges}


def test_every_way_of_the_chart_leads_to_a_place_of_the_chart():
    chart = chart_of(approval=True)
    assert set(chart) == set(NODES) == {*CHART, "approve"}
    for ways in chart.values():
        assert set(ways.values()) <= {*chart, END}
    assert chart_of(approval=False) == CHART


def test_the_drawing_has_the_edges_of_the_graph_that_runs():
    assert drawn(CONFIG) == compiled(CONFIG)


def test_a_person_who_is_asked_stands_between_screening_and_trial():
    config = CONFIG.model_copy(update={"approval": True})
    assert drawn(config) == compiled(config)
    assert {("screen", "approve"), ("approve", "smoke"), ("approve", "engineer")} <= drawn(config)
    assert ("screen", "smoke") not in drawn(config)
    assert "a person" in text(config)


def test_advisers_stand_at_their_moments_in_the_drawing_and_in_the_graph():
    config = with_advisers(
        skeptic={"before": "engineer"}, second={"before": "engineer"}, watcher={"after": "train"}
    )
    assert drawn(config) == compiled(config)
    assert {("skeptic", "second"), ("second", "engineer"), ("train", "watcher")} <= drawn(config)
    assert ("screen", "engineer") not in drawn(config)


def test_the_readme_shows_the_chart_of_the_default_organization():
    assert f"```mermaid\n{mermaid(CONFIG)}\n```" in (REPOSITORY / "README.md").read_text()
