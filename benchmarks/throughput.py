"""Does the device never wait? Busy share and trials an hour, with models that think as long as trials take.

Real are the organization, its processes and the way to a model; the model is a local server that
answers after a set time, and the train.py sleeps, so that two cores are enough for four devices.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import yaml

from benchmarks.table import markdown
from org.config import Config
from org.config_reading import load_config
from org.desk import run
from org.notebook import Notebook
from org.onlooker import Nobody
from org.opening import open_lab
from org.timings import THINKING, TRIAL
from tests.openai_server import Body, OpenAIServer, Turn, asked_for
from trainer.corpus import kjv_chapters
from trainer.trial import Trial

REPLIES_PER_EXPERIMENT = 5  # direction, hypothesis, patch, screening, review

TRAIN = """
import time
import torch
from trainer import prepare

GAIN = 0.0

setting = prepare.setting()
began = time.monotonic()
for _ in prepare.start(rows=1):
    if prepare.progress() >= 1 or time.monotonic() - began >= SECONDS:
        break
    time.sleep(0.02)
token = torch.arange(setting.vocabulary)
likely = (token == ord(" ")) | (token >= ord("a")) & (token <= ord("z")) | (token >= 256)
prepare.evaluate(lambda tokens: (GAIN * likely).expand(*tokens.shape, -1))
"""

SAID: dict[str, dict[str, Any]] = {
    "Direction": {
        "category": "simplification",
        "focus": "The gain.",
        "assignee": "thinker",
        "reason": "It is all there is.",
        "way_out": "simplify",  # which is always open, and heard on a plateau alone
    },
    "Hypothesis": {
        "title": "Another gain",
        "category": "simplification",
        "change": "Change the gain.",
        "mechanism": "Small letters are likelier.",
        "expected_effect": -0.1,
    },
    "Screening": {"approved": True, "reason": "One change."},
    "Review": {"explanation": "As measured.", "lesson": "This gain is no good."},
}

COLUMNS = (
    *("devices", "desks", "trials", "trial in s", "thinking in s"),
    *("in use", "by trials", "by smoke tests", "whole run", "trials an hour", "ratio"),
)


@dataclass
class Thinker(Nobody):
    """The model at the far end: thinks, per experiment, as long as ``share`` of a trial takes."""

    share: float
    seconds: list[float] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def measured(self, what: str, trial: Trial) -> None:
        self.seconds.append(trial.total_seconds)

    def answer(self, body: Body) -> Turn:
        wanted = asked_for(body)
        text = json.dumps(SAID[wanted]) if wanted in SAID else self._patch()
        return Turn(text, delay_seconds=self.share * fmean(self.seconds) / REPLIES_PER_EXPERIMENT)

    def _patch(self) -> str:
        gain = f"GAIN = -{next(self.numbers) / 100}"  # ever worse, so that nothing is certified
        return f"SUMMARY: {gain}\n<<<<<<< SEARCH\nGAIN = 0.0\n=======\n{gain}\n>>>>>>> REPLACE\n"


@dataclass(frozen=True)
class Shares:
    """One run, seen from when all devices had begun a candidate to when the first began its last.

    ``in_use`` is the share of the devices' time in which they trained, started up, scored or were
    smoke-tested on, ``by_trials`` that without the smoke tests; ``whole`` is ``in_use`` from the
    first baseline run to the last verdict. Seconds are wall seconds.
    """

    devices: int
    desks: int
    trials: int
    trial_seconds: float
    thinking_seconds: float
    in_use: float
    by_trials: float
    whole: float

    @property
    def trials_per_hour(self) -> float:
        return 3600 * self.by_trials * self.devices / self.trial_seconds

    def cells(self, single: Shares) -> list[str]:
        ratio = self.trials_per_hour / single.trials_per_hour
        return [
            *(str(self.devices), str(self.desks), str(self.trials)),
            *(f"{self.trial_seconds:.1f}", f"{self.thinking_seconds:.1f}"),
            *(f"{self.in_use:.1%}", f"{self.by_trials:.1%}"),
            *(f"{self.in_use - self.by_trials:.1%}", f"{self.whole:.1%}"),
            *(f"{self.trials_per_hour:.0f}", f"{ratio:.2f}"),
        ]


def shares(notebook: Notebook) -> Shares:
    """What the spans in a notebook say."""
    spans = notebook.rows("select * from spans order by started")
    devices = {span["device"] for span in spans if span["device"]}
    trials = [span for span in spans if span["kind"] in TRIAL and span["experiment"]]
    own = {name: [span for span in trials if span["device"] == name] for name in devices}
    begin = max(spans_of[0]["started"] for spans_of in own.values())
    end = min(spans_of[-len(TRIAL)]["started"] for spans_of in own.values())

    def share(kinds: Sequence[str], begin: float, end: float) -> float:
        used = 0.0
        for span in spans:
            if span["device"] and span["kind"] in kinds:
                last = min(end, span["started"] + span["seconds"])
                used += max(last - max(begin, span["started"]), 0.0)
        return used / (end - begin) / len(devices)

    count = len([span for span in trials if span["kind"] == "trained"])
    (experiments,) = notebook.rows(
        "select count(*) as n, count(distinct desk) as desks, max(ended) as last from experiments"
    )
    thought = sum(span["seconds"] for span in spans if span["kind"] in THINKING)
    everything = ("smoke-tested", *TRIAL)
    return Shares(
        devices=len(devices),
        desks=experiments["desks"],
        trials=count,
        trial_seconds=sum(span["seconds"] for span in trials) / count,
        thinking_seconds=thought / experiments["n"],
        in_use=share(everything, begin, end),
        by_trials=share(TRIAL, begin, end),
        whole=share(everything, spans[0]["started"], experiments["last"]),
    )


def organization(
    folder: Path, url: str, devices: int, desks: int | str, experiments: int
) -> Config:
    """An organization with so many devices, in a folder that has train.py and texts."""
    prompt = {"prompt": "prompt.md"}
    fields = {
        "program": "prompt.md",
        "train": "train.py",
        "model": {"name": "openai:stand-in", "base_url": url, "price": [0, 0]},
        "roles": {
            **dict.fromkeys(("director", "engineer", "reviewer"), prompt),
            "hypothesis": [{"name": "thinker", **prompt}],
        },
        "desks": desks,
        "devices": [f"cpu:{number}" for number in range(devices)],
        "trial": {
            "profile": "cpu",
            "corpus": "files:texts",
            "vocabulary": 300,
            "sequence_length": 32,
            "evaluation_tokens": 1024,
            "seconds": 600.0,  # of processor time, of which a sleeper uses none
            "startup_seconds": 60.0,
            "threads": 1,
        },
        "review": {"baseline_runs": 2},
        "budget": {"experiments": experiments},
    }
    (folder / "org.yaml").write_text(yaml.safe_dump(fields))
    return load_config(folder / "org.yaml")


def measure(
    devices: int, desks: int | str, experiments: int, trial_seconds: float, share: float
) -> Shares:
    """Run an organization of stand-ins, and see what its devices did."""
    with tempfile.TemporaryDirectory() as name:
        folder, thinker = Path(name), Thinker(share)
        (folder / "texts").mkdir()
        for number, chapter in enumerate(islice(kjv_chapters(), 40)):
            (folder / "texts" / f"{number}.txt").write_text(chapter)
        (folder / "prompt.md").write_text("Do your part.\n")
        (folder / "train.py").write_text(TRAIN.replace("SECONDS", str(trial_seconds)))
        with OpenAIServer(thinker.answer) as server:
            config = organization(folder, server.url, devices, desks, experiments)
            with open_lab(config, folder / "lab", thinker) as lab:
                for reason in run(lab):
                    click.echo(reason, err=True)
                return shares(lab.notebook)


@click.command()
@click.option("--devices", default="1,2,4", show_default=True, help="How many, one run for each.")
@click.option("--trials", type=click.IntRange(3), default=6, show_default=True, help="Per device.")
@click.option("--trial-seconds", type=float, default=30.0, show_default=True)
@click.option("--thinking", type=float, default=1.0, show_default=True, help="Per trial's length.")
def main(devices: str, trials: int, trial_seconds: float, thinking: float) -> None:
    """Measure how busy devices are, against a single desk that thinks and trains in turn."""
    terms = {"trial_seconds": trial_seconds, "share": thinking}
    rows = [single := measure(1, 1, max(3, trials // 2), **terms)]
    click.echo(f"a single desk: {single}", err=True)
    for count in map(int, devices.split(",")):
        rows.append(measure(count, "auto", trials * count, **terms))
        click.echo(str(rows[-1]), err=True)
    click.echo(markdown([COLUMNS, *(row.cells(single) for row in rows)]))


if __name__ == "__main__":
    sys.exit(main())
