"""A real A/A test: an organization whose engineers only make edits that change nothing."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import yaml
from rich.console import Console

from benchmarks.nulls import null_edit
from org.config import Config
from org.config_reading import load_config
from org.desk import run
from org.figures import counted
from org.notebook import Notebook
from org.opening import open_lab
from org.telling.results import read_results
from org.telling.terminal import Terminal
from roles.model import Answer, Brief, Reply
from roles.records import (
    PARAGRAPH_CHARACTERS,
    Direction,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Prose,
    Record,
    Review,
    Screening,
    ScreeningReads,
)

ROOT = Path(__file__).parents[1]


class Idle:
    """Everyone in an organization that changes nothing; every edit is another one."""

    name = "edits that change nothing (no language model)"

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """See `roles.model.Model.ask`."""
        reply = reply_type.model_validate(self._reply(brief).model_dump())
        return Answer(reply=reply, text=reply.model_dump_json(), model=self.name, dollars=0.0)

    def _reply(self, brief: Brief) -> Record:
        reads = brief.reads
        if isinstance(reads, DirectorReads):
            name = reads.people[0].name
            return Direction(
                category="simplification",
                focus="Nothing.",
                assignee=name,
                reason="A/A.",
                way_out="simplify",  # which is always open, and heard on a plateau alone
            )
        if isinstance(reads, HypothesisReads):
            edit, words = null_edit(reads.source, self.chance)
            return Hypothesis(
                title=words,
                category="simplification",
                change=edit.model_dump_json()[:PARAGRAPH_CHARACTERS],
                mechanism="None: the program stays the same.",
                expected_effect=0.0,
            )
        if isinstance(reads, EngineerReads):
            edit, words = null_edit(reads.source, self.chance)
            block = f"<<<<<<< SEARCH\n{edit.search}=======\n{edit.replace}>>>>>>> REPLACE\n"
            return Prose(text=f"SUMMARY: {words}\n{block}")
        if isinstance(reads, ScreeningReads):
            return Screening(approved=True, reason="It changes nothing.")
        return Review(explanation="As measured.", lesson="An edit that changes nothing.")


def organization(folder: Path, experiments: int, seconds: float | None) -> Config:
    """The repository's organization, in a folder, with so many experiments."""
    fields = yaml.safe_load((ROOT / "org.yaml").read_text())
    fields["budget"] = {"experiments": experiments}
    if seconds:
        fields["trial"]["seconds"] = seconds
    for name in ("program", "train"):
        fields[name] = str(ROOT / fields[name])
    for role in (
        *fields["roles"]["hypothesis"],
        *map(fields["roles"].get, ("director", "engineer", "reviewer")),
    ):
        role["prompt"] = str(ROOT / role["prompt"])
    (folder / "org.yaml").write_text(yaml.safe_dump(fields))
    return load_config(folder / "org.yaml")


CANDIDATES = """
    select seed, val_bpb from trials
    where rowid in (select max(rowid) from trials where purpose = 'candidate'
        and outcome = 'completed' group by experiment)
    order by rowid"""
# Of those that ran under a seed and were ever the incumbent, the one that came of it.
BEGINNING = """
    select t.val_bpb from trials t join incumbents i on i.source_sha = t.source_sha
    where t.seed = :seed and t.purpose in ('baseline', 'certify') and t.outcome = 'completed'
    order by i.number desc limit 1"""


def chains(notebook: Notebook) -> list[list[float]]:
    """The runs that greed would hold against one another: for each seed the incumbent's, then all others.

    autoresearch runs everything under one seed; here certifications change it, and greed then
    begins anew. Of a run that was repeated, because it was disturbed, the repetition counts.
    """
    of_seed: dict[int, list[float]] = defaultdict(list)
    for row in notebook.rows(CANDIDATES):
        of_seed[row["seed"]].append(row["val_bpb"])
    firsts = {seed: notebook.rows(BEGINNING, {"seed": seed}) for seed in of_seed}
    return [[firsts[seed][0]["val_bpb"], *scores] for seed, scores in of_seed.items()]


def greedy(first: float, scores: Sequence[float]) -> tuple[int, float]:
    """How many of these runs autoresearch would have kept, and the gain it would report."""
    best, keeps = first, 0
    for score in scores:
        if score < best:
            best, keeps = score, keeps + 1
    return keeps, first - best


def report(notebook: Notebook) -> list[str]:
    """What the organization made of changes that are none, and what greed would have."""
    results, runs = read_results(notebook), chains(notebook)
    greed = [greedy(first, scores) for first, *scores in runs]
    keeps, claimed = sum(each for each, _ in greed), sum(gain for _, gain in greed)
    promotions = len(notebook.incumbents()) - 1
    gain = results.improvement.text if results.improvement else "none"
    stacked = notebook.rows("select count(*) as n from stack")[0]["n"]
    proofs = notebook.rows("select count(*) as n from trials where purpose = 'certify'")[0]["n"]
    noise = results.baseline.noise_bpb if results.baseline else 0.0
    candidates = counted(sum(len(chain) - 1 for chain in runs), "candidate")
    return [
        f"{candidates} that change nothing; noise of one run {noise:.4f} bpb",
        f"this organization: {stacked} changes went on the stack, {promotions} promotions, "
        f"claimed gain {gain} bpb; {proofs} runs for proof",
        f"greedy on the same runs, under {counted(len(runs), 'seed')}: {keeps} keeps, "
        f"claimed gain {claimed:.4f} bpb",
        *(
            f"  {one.certification.says}: {one.effect.text if one.effect else ''} {one.certification.reason}"
            for one in results.certified
        ),
    ]


@click.command(
    epilog="""\b
Examples:
  python -m benchmarks.aa
  python -m benchmarks.aa --experiments 8 --seconds 3"""
)
@click.option("--experiments", type=click.IntRange(1), default=60, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), help="Budget; by default the profile's.")
@click.option("--seed", default=1, show_default=True, help="Of the edits.")
@click.option("--lab", type=click.Path(path_type=Path), help="Keep the lab here, and go on in it.")
def main(experiments: int, seconds: float | None, seed: int, lab: Path | None) -> None:
    """Run an organization of which no change does anything, and print what it claims."""
    with tempfile.TemporaryDirectory() as temporary:
        config = organization(Path(temporary), experiments, seconds)
        terminal = Terminal(Console(highlight=False))
        with open_lab(config, lab or Path(temporary, "lab"), terminal) as opened:
            with terminal:
                run(replace(opened, models=dict.fromkeys(opened.models, Idle(seed))))
            click.echo("\n" + "\n".join(report(opened.notebook)))


if __name__ == "__main__":
    main()
