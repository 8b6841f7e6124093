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
    "engineer": {
        "written": "screen",
        "edits fail": "engineer",
        "cannot be done": "hypothesize",
        "given up": "review",
    },
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

# Where `approval: true` asks a person before a patch is tried: after screening.
APPROVE = {"accepted": "smoke", "rejected": "engineer", "given up": "review"}

NODES: dict[str, nodes.Node] = {
    "direct": nodes.direct,
    "hypothesize": nodes.hypothesize,
    "engineer": nodes.write,
    "screen": nodes.screen,
    "approve": nodes.approve,
    "smoke": nodes.smoke,
    "train": nodes.train,
    "review": nodes.review,
    "certify": nodes.certify,
}

Chart = CompiledStateGraph[ExperimentState, Lab, ExperimentState, ExperimentState]


def chart_of(approval: bool) -> dict[str, dict[str, str]]:
    """CHART; where a person is asked before a patch is tried, with that place after screening."""
    if not approval:
        return CHART
    chart: dict[str, dict[str, str]] = {}
    for name, ways in CHART.items():
        chart[name] = ways
        if name == "screen":
            chart[name] = {**ways, "approved": "approve"}
            chart["approve"] = APPROVE
    return chart


def build_chart(
    roles: Roles, checkpointer: BaseCheckpointSaver[str] | None = None, *, approval: bool = False
) -> Chart:
    """The chart of an organization, with its advisers put in at their moments."""
    chart = chart_of(approval)
    graph = StateGraph(ExperimentState, context_schema=Lab)
    for name in chart:
        graph.add_node(name, NODES[name])
    entry, leave = {name: name for name in chart}, {name: name for name in chart}
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
    for name, ways in chart.items():
        places: dict[Hashable, str] = {
            outcome: entry.get(place, place) for outcome, place in ways.items()
        }
        graph.add_conditional_edges(leave[name], _outcome, places)
    return graph.compile(checkpointer=checkpointer)


def _outcome(state: ExperimentState) -> str:
    return state["outcome"]
