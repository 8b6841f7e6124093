"""What every experiment came to, computed from the trials and messages in the notebook."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from org.figures import Cost, effect_text
from org.lab import LabError
from org.notebook import Experiment, Incumbent, Notebook
from trainer.evidence import Evidence, noise, weigh

# Runs that a source was not chosen by: only they count for it.
FRESH = ("baseline", "confirm")

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
    """The first train.py; ``noise_bpb`` is the spread of one run of it, in bits per byte."""

    incumbent: Incumbent
    noise_bpb: float
    spent: Spent


@dataclass(frozen=True)
class Result:
    """One experiment: the weighing behind its verdict, and its commit if it was kept.

    ``evidence`` is None where the verdict does not rest on trials, or is not there yet.
    """

    experiment: Experiment
    evidence: Evidence | None
    commit_sha: str | None
    spent: Spent

    @property
    def standing(self) -> str:
        """The decision; ``open`` before there is one."""
        return self.experiment.decision or "open"

    @property
    def effect(self) -> str:
        """The effect that the verdict rests on, with its standard error, in bits per byte; or ""."""
        if self.evidence is None or self.experiment.effect is None:
            return ""
        return effect_text(self.experiment.effect, self.evidence.standard_error)


@dataclass(frozen=True)
class Results:
    """All of a notebook, in the order of the experiments' numbers.

    ``incumbent`` is the latest one, and ``improvement`` its effect against the baseline; both are
    None while nothing is kept. ``worked_seconds`` are wall seconds, breaks left out.
    """

    baseline: Baseline | None
    experiments: tuple[Result, ...]
    incumbent: Incumbent | None
    improvement: Evidence | None
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
    incumbents = notebook.incumbents()
    kept = {each.experiment: each for each in incumbents}
    trials_of, fresh = _by_experiment(trials), _fresh_scores(trials)
    noise_bpb = noise(_scores(trials_of[None])) if incumbents else 0.0
    improvement = None
    if len(incumbents) > 1:
        first, last = incumbents[0], incumbents[-1]
        own = _scores(trials_of[last.experiment], last.source_sha)
        improvement = weigh(own, fresh[first.source_sha], noise_bpb)
    results = tuple(
        _result(
            each,
            trials_of[each.id],
            replies.get(each.id),
            fresh[each.head_sha],
            noise_bpb,
            kept.get(each.id),
        )
        for each in notebook.experiments()
    )
    return Results(
        baseline=Baseline(incumbents[0], noise_bpb, _spent(trials_of[None], None))
        if incumbents
        else None,
        experiments=results,
        incumbent=incumbents[-1] if improvement else None,
        improvement=improvement,
        trials_count=len(trials),
        worked_seconds=notebook.rows("select total(worked_seconds) as sum from runs")[0]["sum"],
        cost=_cost(*replies.values()),
    )


def read_result(notebook: Notebook, number: int) -> Result:
    """What one experiment came to.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    experiment = numbered(notebook, number)
    own = {"id": experiment.id}
    select = f"select {TRIAL_COLUMNS} from trials where experiment = :id order by rowid"
    kept = notebook.rows("select * from incumbents where experiment = :id", own)
    return _result(
        experiment,
        notebook.rows(select, own),
        notebook.rows(f"{REPLIES} and experiment = :id", own)[0],
        notebook.fresh_runs(experiment.head_sha or ""),
        noise(notebook.baseline_runs()),
        Incumbent(**kept[0]) if kept else None,
    )


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
    experiment: Experiment,
    trials: Rows,
    replies: dict[str, Any] | None,
    head_scores: Sequence[float],
    noise_bpb: float,
    kept: Incumbent | None,
) -> Result:
    evidence = None
    own = _scores(trials, experiment.candidate_sha)
    if experiment.effect is not None and own and head_scores:
        evidence = weigh(own, head_scores, noise_bpb)
    return Result(experiment, evidence, kept.commit_sha if kept else None, _spent(trials, replies))


def _by_experiment(trials: Rows) -> defaultdict[str | None, Rows]:
    """The trials of each experiment; those of the baseline under None."""
    trials_of: defaultdict[str | None, Rows] = defaultdict(list)
    for trial in trials:
        trials_of[trial["experiment"]].append(trial)
    return trials_of


def _fresh_scores(trials: Rows) -> defaultdict[str | None, list[float]]:
    """val_bpb of the runs that count for each source."""
    fresh: defaultdict[str | None, list[float]] = defaultdict(list)
    for trial in trials:
        if trial["outcome"] == "completed" and trial["purpose"] in FRESH:
            fresh[trial["source_sha"]].append(trial["val_bpb"])
    return fresh


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
