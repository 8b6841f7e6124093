"""The organization chart of an org.yaml, drawn for a page or for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from langgraph.graph import END

from org.config import AdviserConfig, Config, RoleConfig
from org.graph import CHART

START = "START"


def mermaid(config: Config) -> str:
    """The chart in mermaid's language, as code hosts draw it."""
    lines = ["flowchart TD", f"  {START}((start))", "  END((end))"]
    for place, people in places(config).items():
        who = "<br/>".join(people)
        lines.append(f'  {place}["{place}{f"<br/><i>{who}</i>" if who else ""}"]')
    for come_from, outcome, to in edges(config):
        label = f"|{outcome}|" if outcome else ""
        lines.append(f"  {come_from} -->{label} {to}")
    return "\n".join(lines)


def text(config: Config) -> str:
    """The chart as lines for a terminal: each place, who stands there, and where it leads."""
    ways = list(edges(config))
    lines: list[str] = [f"start ─▶ {ways[0][2]}"]
    for place, people in places(config).items():
        lines += ["", f"{place}   {'; '.join(people)}".rstrip()]
        leads = [(outcome, to) for come_from, outcome, to in ways if come_from == place]
        width = max(len(outcome) for outcome, _ in leads)
        lines += [f"  {outcome:<{width}} ─▶ {to}" for outcome, to in leads]
    return "\n".join(lines)


def places(config: Config) -> dict[str, list[str]]:
    """The places of the chart in order, each with the people who stand there and their models."""
    roles = config.roles
    standing: dict[str, list[RoleConfig]] = {
        "direct": [roles.director],
        "hypothesize": [*roles.hypothesis],
        "engineer": [roles.engineer],
        "screen": [roles.reviewer],
        "train": [],
        "review": [roles.reviewer],
    }
    drawn: dict[str, list[str]] = {}
    for place, people in standing.items():
        drawn |= {a.name: [_who(config, a)] for a in roles.advisers if a.before == place}
        drawn[place] = [_who(config, person) for person in people]
        drawn |= {a.name: [_who(config, a)] for a in roles.advisers if a.after == place}
    drawn["train"] = [f"the trial, {config.trial.profile} profile"]
    return drawn


def edges(config: Config) -> Iterator[tuple[str, str, str]]:
    """From where, on which outcome, to where: CHART, with the advisers put in at their moments."""
    advisers = config.roles.advisers
    yield START, "", _entry(advisers, "direct")
    for place, ways in CHART.items():
        before = [a.name for a in advisers if a.before == place]
        after = [place, *(a.name for a in advisers if a.after == place)]
        for one, other in pairwise([*before, place]):
            yield one, "", other
        for one, other in pairwise(after):
            yield one, "", other
        for outcome, to in ways.items():
            yield after[-1], outcome, "END" if to == END else _entry(advisers, to)


def _entry(advisers: tuple[AdviserConfig, ...], place: str) -> str:
    """Where one arrives on the way to a place: at the first adviser who speaks before it."""
    return next((a.name for a in advisers if a.before == place), place)


def _who(config: Config, person: RoleConfig) -> str:
    return f"{person.name}: {config.model_of(person).name}"
