"""What every experiment came to, computed from the trials and messages in the notebook."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from org.figures import Cost, effect_text
from org.lab import LabError
from org.noise import pair_spread, run_spread
from org.notebook import Experiment, Incumbent, Notebook, Run
from org.stack import Change, Proof, proofs, stack
from trainer.evidence.effect import Effect, effect_of, tempered
from trainer.evidence.stack import provisional
from trainer.setting import Setting

TRIAL_COLUMNS = "experiment, purpose, source_sha, outcome, val_bpb, total_seconds, peak_memory_mb"

# Replies of models, summed up: how many, how many of a known price, what those cost.
REPLIES = (
    "select experiment, count(*) as count, count(dollars) as priced, total(dollars) as dollars,"
    " total(seconds) as seconds from messages where model is not null"
)

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Spent:
    """What went into something; ``work_seconds`` are those of trials and models, not of waiting."""

    trials_count: int
    work_seconds: float
    peak_memory_mb: float
    cost: Cost


@dataclass(frozen=True)
class Baseline:
    """The first train.py; ``noise_bpb`` is the spread of one run, in bits per byte."""

    incumbent: Incumbent
    noise_bpb: float
    spent: Spent


@dataclass(frozen=True)
class Result:
    """One experiment: what its own run gave, and its commit if it was kept."""

    experiment: Experiment
    val_bpb: float | None
    change: Change | None
    spent: Spent

    @property
    def standing(self) -> str:
        """The decision; ``open`` before there is one."""
        return self.experiment.decision or "open"

    @property
    def commit_sha(self) -> str | None:
        """The commit that has the change; None unless it was kept."""
        return self.change.commit_sha if self.change else None

    @property
    def effect(self) -> str:
        """The effect of its one run, with its standard error, in bits per byte; or ""."""
        if self.experiment.effect is None or self.experiment.error is None:
            return ""
        return effect_text(self.experiment.effect, self.experiment.error)


@dataclass(frozen=True)
class Certified:
    """A certification that has ended, and the effect that it vouches for, luck taken out."""

    proof: Proof
    effect: Effect | None


@dataclass(frozen=True)
class Results:
    """All of a notebook, in the order of the experiments' numbers.

    ``incumbent`` is the latest one, and ``improvement`` its effect against the baseline by the
    fresh runs of both; both are None while nothing is certified. ``expected`` is what the stack
    may bring. ``worked_seconds`` are wall seconds, breaks left out.
    """

    baseline: Baseline | None
    experiments: tuple[Result, ...]
    incumbent: Incumbent | None
    improvement: Effect | None
    expected: Effect | None
    stacked: int
    certified: tuple[Certified, ...]
    trials_count: int
    worked_seconds: float
    cost: Cost

    @property
    def standings(self) -> Counter[str]:
        """How many experiments were kept, discarded, crashed or are open."""
        return Counter(result.standing for result in self.experiments)


def read_results(notebook: Notebook) -> Results:
    """What a table of the notebook says; a few queries, however long the notebook is."""
    trials = notebook.rows(f"select {TRIAL_COLUMNS} from trials order by rowid")
    replies = {row["experiment"]: row for row in notebook.rows(f"{REPLIES} group by experiment")}
    changes = {row["experiment"]: Change(**row) for row in notebook.rows("select * from stack")}
    incumbents, stacked = notebook.incumbents(), stack(notebook)
    trials_of = _by_experiment(trials)
    improvement, expected, baseline = None, None, None
    if incumbents:
        profile = setting_of(notebook.runs()[-1]).profile
        run, pair = run_spread(notebook, profile), pair_spread(notebook, profile)
        own = [trial for trial in trials_of[None] if trial["purpose"] == "baseline"]
        baseline = Baseline(incumbents[0], run.bpb, _spent(own, None))
        if stacked:
            expected = provisional([change.expected_bpb for change in stacked], pair)
        if len(incumbents) > 1:
            first, last = (
                notebook.fresh_runs(each.source_sha) for each in (incumbents[0], incumbents[-1])
            )
            improvement = effect_of(last, first, run=run, pair=pair, kind="certified")
    return Results(
        baseline=baseline,
        experiments=tuple(
            _result(each, trials_of[each.id], replies.get(each.id), changes.get(each.id))
            for each in notebook.experiments()
        ),
        incumbent=incumbents[-1] if improvement else None,
        improvement=improvement,
        expected=expected,
        stacked=len(stacked),
        certified=read_certified(notebook),
        trials_count=len(trials),
        worked_seconds=notebook.rows("select total(worked_seconds) as sum from runs")[0]["sum"],
        cost=_cost(*replies.values()),
    )


def read_certified(notebook: Notebook) -> tuple[Certified, ...]:
    """All certifications that have ended, each with its effect as it stood on that day."""
    known: list[Effect] = []
    certified = []
    for proof in proofs(notebook):
        if proof.says is None:
            continue
        effect = proof.effect
        if effect is not None and proof.purpose != "pruned":
            known.append(effect)
            effect = tempered(effect, known) if proof.says == "pass" else effect
        certified.append(Certified(proof, effect))
    return tuple(certified)


def read_result(notebook: Notebook, number: int) -> Result:
    """What one experiment came to.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    experiment = numbered(notebook, number)
    own = {"id": experiment.id}
    select = f"select {TRIAL_COLUMNS} from trials where experiment = :id order by rowid"
    changes = notebook.rows("select * from stack where experiment = :id", own)
    return _result(
        experiment,
        notebook.rows(select, own),
        notebook.rows(f"{REPLIES} and experiment = :id", own)[0],
        Change(**changes[0]) if changes else None,
    )


def setting_of(run: Run) -> Setting:
    """The terms of a run's trials."""
    return Setting.model_validate_json(run.setting_json)


def numbered(notebook: Notebook, number: int) -> Experiment:
    """The experiment of a number.

    Raises:
        LabError: there is none; the message says which there are.
    """
    rows = notebook.rows("select * from experiments where number = :number", {"number": number})
    if rows:
        return Experiment(**rows[0])
    (last,) = notebook.rows("select max(number) as number from experiments")
    there = f"the last one is {last['number']}" if last["number"] else "it has none yet"
    raise LabError(f"the notebook has no experiment {number}; {there}")


def _result(
    experiment: Experiment, trials: Rows, replies: dict[str, Any] | None, change: Change | None
) -> Result:
    own = _scores(trials, experiment.candidate_sha)
    val_bpb = own[-1] if own and experiment.effect is not None else None
    return Result(experiment, val_bpb, change, _spent(trials, replies))


def _by_experiment(trials: Rows) -> defaultdict[str | None, Rows]:
    """The trials of each experiment; those of the baseline under None."""
    trials_of: defaultdict[str | None, Rows] = defaultdict(list)
    for trial in trials:
        trials_of[trial["experiment"]].append(trial)
    return trials_of


def _scores(trials: Rows, source_sha: str | None = None) -> list[float]:
    """val_bpb of the completed trials, in order; only those of one source if it is given."""
    return [
        trial["val_bpb"]
        for trial in trials
        if trial["outcome"] == "completed" and source_sha in (None, trial["source_sha"])
    ]


def _spent(trials: Rows, replies: dict[str, Any] | None) -> Spent:
    thinking_seconds = replies["seconds"] if replies else 0.0
    return Spent(
        trials_count=len(trials),
        work_seconds=sum(trial["total_seconds"] for trial in trials) + thinking_seconds,
        peak_memory_mb=max((trial["peak_memory_mb"] for trial in trials), default=0.0),
        cost=_cost(*([replies] if replies else [])),
    )


def _cost(*replies: dict[str, Any]) -> Cost:
    return Cost(
        dollars=sum(row["dollars"] for row in replies),
        unknown_count=sum(row["count"] - row["priced"] for row in replies),
    )
