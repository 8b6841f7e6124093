"""START HERE: the organization chart as a LangGraph StateGraph.

CHART is the whole of it: at each place, what its node may come to, and where that leads. The nodes
are in org/nodes.py, what travels between them is in org/state.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from org import nodes
from org.config import Roles
from org.lab import Lab
from org.state import ExperimentState

CHART: dict[str, dict[str, str]] = {
    "direct": {"directed": "hypothesize"},
    "hypothesize": {"proposed": "engineer"},
    "engineer": {"written": "screen", "edits fail": "engineer", "given up": "review"},
    "screen": {
        "approved": "smoke",
        "objection": "engineer",
        "duplicate": "hypothesize",
        "given up": "review",
    },
    "smoke": {"runs": "train", "does not run": "engineer", "given up": "review"},
    "train": {
        "measured": "review",
        "crash": "engineer",
        "does not apply": "engineer",
        "given up": "review",
    },
    "review": {"closed": END, "head moved": "train", "stack is due": "certify"},
    "certify": {"certified": END},
}

NODES: dict[str, nodes.Node] = {
    "direct": nodes.direct,
    "hypothesize": nodes.hypothesize,
    "engineer": nodes.write,
    "screen": nodes.screen,
    "smoke": nodes.smoke,
    "train": nodes.train,
    "review": nodes.review,
    "certify": nodes.certify,
}

Chart = CompiledStateGraph[ExperimentState, Lab, ExperimentState, ExperimentState]


def build_chart(roles: Roles, checkpointer: BaseCheckpointSaver[str] | None = None) -> Chart:
    """The chart of an organization: CHART, with its advisers put in at their moments."""
    graph = StateGraph(ExperimentState, context_schema=Lab)
    for name, node in NODES.items():
        graph.add_node(name, node)
    entry, leave = {name: name for name in CHART}, {name: name for name in CHART}
    for person in reversed(roles.advisers):
        graph.add_node(person.name, nodes.adviser_node(person))
        if person.before:
            graph.add_edge(person.name, entry[person.before])
            entry[person.before] = person.name
    for person in roles.advisers:
        if person.after:
            graph.add_edge(leave[person.after], person.name)
            leave[person.after] = person.name
    graph.add_edge(START, entry["direct"])
    for name, ways in CHART.items():
        places: dict[Hashable, str] = {
            outcome: entry.get(place, place) for outcome, place in ways.items()
        }
        graph.add_conditional_edges(leave[name], _outcome, places)
    return graph.compile(checkpointer=checkpointer)


def _outcome(state: ExperimentState) -> str:
    return state["outcome"]
