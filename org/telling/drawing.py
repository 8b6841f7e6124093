"""The organization chart of an org.yaml, drawn for a page (mermaid) and for a terminal (text)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from langgraph.graph import END, START

from org.config import Config, RoleConfig, Roles
from org.graph import NODES, chart_of
from org.plain import one_line

WIDTH = 80  # of a terminal, in columns
LEAST_WIDTH = 36  # of a box
MARGIN, GAP = "  ", "  "

# Who stands at a place of CHART; where nobody does, the lab itself works.
STANDS: dict[str, Callable[[Roles], tuple[RoleConfig, ...]]] = {
    "direct": lambda roles: (roles.director,),
    "hypothesize": lambda roles: roles.hypothesis,
    "engineer": lambda roles: (roles.engineer,),
    "screen": lambda roles: roles.reviewers,
    "approve": lambda roles: (),
    "smoke": lambda roles: (),
    "train": lambda roles: (),
    "review": lambda roles: roles.reviewers,
    "certify": lambda roles: (),
}


@dataclass(frozen=True)
class Place:
    """A place of the chart: who stands there and the model of each, and the ways on from it.

    A way is where it leads and, as its label, what it takes to go there; "" for the only way.
    """

    name: str
    people: tuple[tuple[str, str], ...]
    ways: dict[str, str]


def places(config: Config) -> tuple[Place, ...]:
    """The chart as `org.graph.build_chart` builds it, in the order of a smooth experiment."""
    advisers, chart = config.roles.advisers, chart_of(config.approval)
    chains = {
        name: (
            *(person.name for person in advisers if person.before == name),
            name,
            *(person.name for person in advisers if person.after == name),
        )
        for name in chart
    }
    entry = {name: chain[0] for name, chain in chains.items()}
    found: list[Place] = []
    for name, chain in chains.items():
        *above, last = chain
        found += [
            Place(here, _people(config, here), {following: ""})
            for here, following in zip(above, chain[1:], strict=True)
        ]
        found.append(Place(last, _people(config, last), _ways(chart[name], entry)))
    return tuple(found)


def _ways(ways: dict[str, str], entry: dict[str, str]) -> dict[str, str]:
    """Where outcomes lead, those that lead to one place joined to one way."""
    labels: dict[str, list[str]] = {}
    for outcome, place in ways.items():
        labels.setdefault(entry.get(place, place), []).append(outcome)
    return {place: ", ".join(outcomes) for place, outcomes in labels.items()}


def _people(config: Config, place: str) -> tuple[tuple[str, str], ...]:
    """The name and model of everyone who stands at a place."""
    for person in config.roles.advisers:
        if person.name == place:
            return ((f"adviser {person.moment}", _model(config, person)),)
    if place == "approve":
        return (("a person", "asked before a trial"),)
    there = STANDS[place](config.roles)
    return tuple((each.name, _model(config, each)) for each in there) or (("the lab", "a device"),)


def _model(config: Config, person: RoleConfig) -> str:
    choice = config.model_of(person)
    if choice.kind in ("scripted", "replay"):
        return f"{choice.kind}:{Path(choice.target).name}"
    return one_line(choice.name)


def edges(config: Config) -> Iterator[tuple[str, str, str]]:
    """From where, by which way, to where; the names are those of the graph that runs."""
    chart = places(config)
    yield START, "", chart[0].name
    for place in chart:
        for target, label in place.ways.items():
            yield place.name, label, target


def mermaid(config: Config) -> str:
    """A mermaid flowchart: what is hoped for with a solid line, what else may be with a dotted one.

    Drawn from CHART and not by LangGraph's own `draw_mermaid`, which shows one of the outcomes
    where several lead to one place, and nobody's name.
    """
    ids = {START: "start", END: "finish"}
    lines = ["flowchart TD", '    start(["start"])']
    for count, place in enumerate(places(config)):
        ids[place.name] = place.name if place.name in NODES else f"adviser{count}"
        lines.append(f'    {ids[place.name]}["{_mermaid_label(place)}"]')
    lines.append('    finish(["end"])')
    left: set[str] = set()
    for here, label, target in edges(config):
        arrow = "-.->" if here in left else "-->"  # CHART has what is hoped for first
        left.add(here)
        lines.append(f"    {ids[here]} {arrow}{f'|{label}|' if label else ''} {ids[target]}")
    return "\n".join(lines)


def _mermaid_label(place: Place) -> str:
    """The place, then those who have one model in common, and under them that model."""
    names: dict[str, list[str]] = {}
    for name, model in place.people:
        names.setdefault(model, []).append(name)
    lines = [f"<b>{place.name}</b>"]
    for model, people in names.items():
        lines += [", ".join(people), f"<i>{_mermaid_text(model)}</i>"]
    return "<br>".join(lines)


def _mermaid_text(text: str) -> str:
    """A text in which nothing means something to mermaid or HTML: its own numbered entities."""
    return "".join(c if c.isalnum() or c in " .:/-_" else f"#{ord(c)};" for c in text)


def text(config: Config) -> str:
    """The chart in 80 columns: on the left the smooth way down, beside each place the other ways."""
    chart = places(config)
    following = [*(place.name for place in chart[1:]), END]
    asides = [_asides(place, after) for place, after in zip(chart, following, strict=True)]
    widest = max(len(line) for aside in asides for line in ("", *aside))
    people = [person for place in chart for person in place.people]
    needed = max(len(f"│ {name}  {model} │") for name, model in people)
    width = min(max(needed, LEAST_WIDTH), WIDTH - len(MARGIN) - len(GAP) - widest)
    lines = [f"{MARGIN}  start"]
    for place, after, aside in zip(chart, following, asides, strict=True):
        for line, beside in zip_longest(_box(place, width), aside, fillvalue=""):
            lines.append(f"{MARGIN}{line:<{width}}{GAP}{beside}".rstrip())
        lines.append(f"{MARGIN}    │ {place.ways.get(after, '')}".rstrip())
    return "\n".join([*lines, f"{MARGIN}   end"])


def _asides(place: Place, following: str) -> list[str]:
    """The ways that do not lead down, each outcome in a line, the arrows aligned."""
    ways = [
        (outcome, "end" if target == END else target)
        for target, label in place.ways.items()
        if target != following
        for outcome in label.split(", ")
    ]
    width = max((len(outcome) for outcome, _ in ways), default=0)
    return [f"{outcome} {'─' * (width - len(outcome))}─▶ {target}" for outcome, target in ways]


def _box(place: Place, width: int) -> Iterator[str]:
    """A place with its people, so wide; what does not fit is cut."""
    inner = width - 4
    yield f"╭───▼─ {place.name[: inner - 5]} ".ljust(width - 1, "─") + "╮"
    for name, model in place.people:
        room = inner - len(name) - 2
        shown = model if len(model) <= room else f"{model[: max(0, room - 1)]}…"
        yield f"│ {name}  {shown:>{room}} │" if room > 0 else f"│ {name[:inner]:<{inner}} │"
    yield "╰───┬".ljust(width - 1, "─") + "╯"
