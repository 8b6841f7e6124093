"""What each hypothesis role has brought so far, and who should have the next experiment."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from org.notebook import Experiment, Notebook
from roles.records import PaidOff, Person, Suggestion
from trainer.evidence.payoff import Payoff, drawn_payoffs
from trainer.evidence.student import normal_below

# So many of the latest experiments count: what pays off changes with train.py. A sliding window, as
# in Garivier and Moulines 2011, ALT (arXiv:0805.3415).
WINDOW = 200

# Each of the latest experiments before a number, with what it cost and what became of its change.
LATEST = """
    select e.id, e.category, e.decision, json_extract(e.direction_json, '$.assignee') as assignee,
        s.effect_bpb, s.error_bpb, s.expected_bpb, s.certification,
        (select total(seconds) from spans
            where experiment = e.id and device is not null) as device_seconds
    from experiments e left join stack s on s.experiment = e.id
    where e.number < :before and e.direction_json is not null
    order by e.number desc limit :window"""


def paid_off(notebook: Notebook, people: Sequence[Person], before: int) -> tuple[PaidOff, ...]:
    """What the experiments of each person have come to, of the latest before a number."""
    latest = notebook.rows(LATEST, {"before": before, "window": WINDOW})
    shares = _certified(notebook, {row["certification"] for row in latest} - {None})
    return tuple(
        _of(person.name, [row for row in latest if row["assignee"] == person.name], shares)
        for person in people
    )


def suggestion(
    notebook: Notebook,
    people: Sequence[Person],
    experiment: Experiment,
    exploration: float,
    record: Sequence[PaidOff],
) -> Suggestion:
    """Who should have an experiment: who pays off best, or now and then who had the fewest.

    ``record`` is what `paid_off` says before it. It follows from the experiment and those before
    it: asked again, it says the same.
    """
    if explores(experiment.number, exploration):
        return _exploring(notebook, people, experiment.number)
    drawn = drawn_payoffs([_payoff(each) for each in record], Random(experiment.id))
    best = max(people, key=lambda person: drawn[person.name])
    return Suggestion(assignee=best.name, reason="the most promising draw from what has paid off")


def explores(number: int, share: float) -> bool:
    """Whether the experiment of this number is one of the share that explores, evenly spread."""
    due, before = (math.floor(count * share + 1e-9) for count in (number, number - 1))
    return due > before


def _exploring(notebook: Notebook, people: Sequence[Person], number: int) -> Suggestion:
    """Who was asked least, and the category of theirs that was tried least."""
    latest = notebook.rows(LATEST, {"before": number, "window": WINDOW})
    asked, tried = (Counter(row[key] for row in latest) for key in ("assignee", "category"))
    person = min(people, key=lambda each: asked[each.name])
    category = min(person.categories, key=lambda each: tried[each])
    return Suggestion(
        assignee=person.name,
        category=category,
        reason=(
            f"this experiment explores: {person.name} had the fewest so far "
            f"({asked[person.name]}), and {category} the fewest of its categories "
            f"({tried[category]})"
        ),
    )


def _of(name: str, rows: list[dict[str, Any]], shares: dict[str, float]) -> PaidOff:
    done = [row for row in rows if row["decision"] is not None]
    stacked = [row for row in done if row["decision"] == "provisional"]
    return PaidOff(
        name=name,
        tried=len(done),
        kept=sum(row["decision"] == "keep" for row in done),
        stacked=len(stacked),
        doubt=sum(1 - normal_below(-row["effect_bpb"] / row["error_bpb"]) for row in stacked),
        certified_bpb=sum(shares.get(row["id"], 0.0) for row in done),
        expected_bpb=sum(row["expected_bpb"] for row in stacked),
        device_seconds=sum(row["device_seconds"] for row in rows),
    )


def _payoff(record: PaidOff) -> Payoff:
    return Payoff(
        name=record.name,
        tried=record.tried,
        credit=record.kept + record.stacked - record.doubt,
        gained_bpb=max(-record.certified_bpb, 0.0) + max(-record.expected_bpb, 0.0),
        device_seconds=record.device_seconds,
    )


def _certified(notebook: Notebook, certifications: set[int]) -> dict[str, float]:
    """What each kept change has of the certified effect, in bits per byte.

    A certificate is one for all its changes; it is shared out as was expected of each.
    """
    numbers = ", ".join(map(str, sorted(certifications)))
    rows = notebook.rows(
        "select s.experiment, s.certification, s.expected_bpb, c.effect_json from stack s"
        " join certifications c on c.number = s.certification"
        f" where s.standing = 'keep' and s.certification in ({numbers})"
    )
    whole: dict[int, float] = {}
    for row in rows:
        number = row["certification"]
        whole[number] = whole.get(number, 0.0) + _weight(row)
    return {
        row["experiment"]: json.loads(row["effect_json"])["bpb"]
        * _weight(row)
        / whole[row["certification"]]
        for row in rows
    }


def _weight(row: dict[str, Any]) -> float:
    return max(-float(row["expected_bpb"]), 1e-9)  # what simplifies is expected to bring nothing
