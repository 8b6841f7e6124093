"""What every experiment came to, computed from the trials and messages in the notebook."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from org.claims import claims, proven_gain
from org.figures import Cost, effect_text
from org.lab import LabError
from org.noise import pair_spread, run_spread
from org.notebook import Experiment, Incumbent, Notebook
from org.stack import Certification, Change, certifications, stack
from trainer.evidence.effect import Effect
from trainer.evidence.stack import provisional

READ_TOGETHER = 500  # experiments, where all are read one after the other

TRIAL_COLUMNS = (
    "t.experiment, t.source_sha, t.outcome, t.val_bpb, t.total_seconds, t.peak_memory_mb"
)

# What belongs to the experiments of some numbers. From these SQLite is to go (a cross join is in the
# order in which it is written), and not through all that the notebook has.
OF_EXPERIMENTS = (
    "from experiments e cross join {} on {}.experiment = e.id where e.number between ? and ?"
)
TRIALS = f"select {TRIAL_COLUMNS} {OF_EXPERIMENTS.format('trials t', 't')} order by t.rowid"
CHANGES = f"select s.* {OF_EXPERIMENTS.format('stack s', 's')}"
# Replies of models, summed up: how many, how many of a known price, what those cost.
REPLIES = (
    "select m.experiment, count(*) as count, count(m.dollars) as priced,"
    " total(m.dollars) as dollars, total(m.seconds) as seconds"
    f" {OF_EXPERIMENTS.format('messages m', 'm')} and m.model is not null group by m.experiment"
)
TOTAL_COST = """
    select total(count) as count, total(priced) as priced,
        total(case when priced then dollars end) as dollars
    from messages_totals where of_model"""
# Of whom every reply is known to have been free and without tokens is no language model.
ROLE_COSTS = """
    select speaker as role, sum(count) as calls_count,
        sum(prompt_tokens) as prompt_tokens, sum(prompts_known) as prompts_known,
        sum(reply_tokens) as reply_tokens, sum(replies_known) as replies_known,
        sum(counted) as counted, total(dollars) as dollars, sum(priced) as priced
    from messages_totals where of_model group by speaker
    having sum(prompt_tokens) + sum(reply_tokens) + total(dollars) > 0
        or sum(priced) < sum(count)
    order by dollars desc, calls_count desc, role"""
STANDINGS = """
    select coalesce(decision, 'open') as standing, count(*) as count
    from experiments group by decision"""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Spent:
    """What went into something; ``work_seconds`` are those of trials and models, not of waiting."""

    trials_count: int
    work_seconds: float
    peak_memory_mb: float
    cost: Cost


@dataclass(frozen=True)
class Tokens:
    """Tokens of several calls: those that are known, of how many calls they are not, and whether
    some of them are our own count."""

    known: int
    unknown_count: int
    counted: bool


@dataclass(frozen=True)
class RoleCost:
    """What the calls of one role came to, those that failed as well."""

    role: str
    calls_count: int
    read: Tokens
    written: Tokens
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
    """A certification that has ended, and the effect that it claims (`org.claims`)."""

    certification: Certification
    effect: Effect | None


@dataclass(frozen=True)
class Results:
    """What a notebook came to, and its latest experiments and certifications in order.

    ``standings`` is how many experiments were kept, discarded, crashed or are open.
    ``improvement`` is what was gained over the baseline by all certificates together
    (`org.claims`), None while nothing is certified; ``expected`` is what the stack may bring.
    ``worked_seconds`` are wall seconds, breaks left out, ``device_seconds`` what all trials took
    together: several devices may have spent them at the same time.
    """

    baseline: Baseline | None
    experiments: tuple[Result, ...]
    experiments_count: int
    standings: Counter[str]
    improvement: Effect | None
    expected: Effect | None
    stacked: int
    certified: tuple[Certified, ...]
    certified_count: int
    trials_count: int
    worked_seconds: float
    device_seconds: float
    cost: Cost

    @property
    def left_out(self) -> int:
        """How many experiments came before those that are here."""
        return self.experiments_count - len(self.experiments)


def read_results(
    notebook: Notebook, experiments: int | None = None, certifications: int | None = None
) -> Results:
    """What a notebook came to, with so many of the latest experiments and certifications, or all.

    But for these it takes the same few short queries, however long the notebook is.
    """
    stacked, count = stack(notebook), notebook.experiments_count()
    expected, baseline = None, None
    if first := notebook.baseline():
        profile = notebook.runs()[-1].setting.profile
        run, pair = run_spread(notebook, profile), pair_spread(notebook, profile)
        baseline = Baseline(first, run.bpb, _spent(_baseline_trials(notebook, first), None))
        if stacked:
            expected = provisional([change.expected_bpb for change in stacked], pair)
    (trials,) = notebook.rows("select total(count) as n, total(seconds) as sum from trials_totals")
    told = claims(notebook)
    certified = read_certified(notebook, told, certifications)
    return Results(
        baseline=baseline,
        experiments=tuple(
            read_experiments(notebook, 1 if experiments is None else count - experiments + 1, count)
        ),
        experiments_count=count,
        standings=Counter({row["standing"]: row["count"] for row in notebook.rows(STANDINGS)}),
        improvement=proven_gain(notebook, told),
        expected=expected,
        stacked=len(stacked),
        certified=certified,
        certified_count=sum(
            row["n"]
            for row in notebook.rows(
                "select count(*) as n from certifications where says is not null"
            )
        ),
        trials_count=int(trials["n"]),
        worked_seconds=notebook.rows("select total(worked_seconds) as sum from runs")[0]["sum"],
        device_seconds=trials["sum"],
        cost=_cost(*notebook.rows(TOTAL_COST)),
    )


def read_experiments(notebook: Notebook, first: int, last: int) -> list[Result]:
    """What the experiments from one number to another came to."""
    asked = (first, last)
    trials: defaultdict[str, Rows] = defaultdict(list)
    for row in notebook.rows(TRIALS, asked):
        trials[row["experiment"]].append(row)
    replies = {row["experiment"]: row for row in notebook.rows(REPLIES, asked)}
    changes = {row["experiment"]: Change(**row) for row in notebook.rows(CHANGES, asked)}
    select = "select * from experiments where number between ? and ? order by number"
    return [
        _result(each, trials[each.id], replies.get(each.id), changes.get(each.id))
        for each in (Experiment(**row) for row in notebook.rows(select, asked))
    ]


def read_role_costs(notebook: Notebook) -> list[RoleCost]:
    """What each role with a language model has cost, the dearest first."""
    return [
        RoleCost(
            row["role"],
            row["calls_count"],
            _tokens(row, "prompt_tokens", "prompts_known"),
            _tokens(row, "reply_tokens", "replies_known"),
            Cost(row["dollars"], row["calls_count"] - row["priced"]),
        )
        for row in notebook.rows(ROLE_COSTS)
    ]


def windows(notebook: Notebook) -> Iterator[tuple[int, int]]:
    """The numbers of all experiments, some at a time: the first and the last of each."""
    count = notebook.experiments_count()
    for first in range(1, count + 1, READ_TOGETHER):
        yield first, min(first + READ_TOGETHER - 1, count)


def _baseline_trials(notebook: Notebook, baseline: Incumbent) -> Rows:
    select = f"select {TRIAL_COLUMNS} from trials t where source_sha = ? and purpose = 'baseline'"
    return notebook.rows(select, (baseline.source_sha,))


def read_certified(
    notebook: Notebook, told: Mapping[int, Effect], latest: int | None = None
) -> tuple[Certified, ...]:
    """The latest certifications that have ended, or all, each with what it claims (``told``)."""
    # One more, for the last one may be going on.
    ended = [
        Certified(certification, told.get(certification.number))
        for certification in certifications(notebook, -1 if latest is None else latest + 1)
        if certification.says is not None
    ]
    return tuple(ended if latest is None else ended[len(ended) - latest :])


def read_result(notebook: Notebook, number: int) -> Result:
    """What one experiment came to.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    numbered(notebook, number)
    (result,) = read_experiments(notebook, number, number)
    return result


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


def _tokens(row: dict[str, Any], column: str, known: str) -> Tokens:
    unknown_count = row["calls_count"] - row[known]
    return Tokens(int(row[column]), unknown_count, bool(row["counted"]))


def _cost(*replies: dict[str, Any]) -> Cost:
    return Cost(
        dollars=sum(row["dollars"] for row in replies),
        unknown_count=int(sum(row["count"] - row["priced"] for row in replies)),
    )
