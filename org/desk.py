"""A desk does one experiment after another until the budget is spent; a run is several desks."""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from org.baseline import measure_baseline
from org.certifying import certify_stack
from org.config import Config
from org.graph import NODES, Chart, build_chart
from org.lab import Lab, LabError, Stopped
from org.nodes import HYPOTHESES_PER_EXPERIMENT
from org.notebook import Experiment
from org.state import ExperimentState
from org.steering import LOOK_SECONDS, steered
from org.timings import desks_needed, most_desks
from roles.model import AskAbandoned, ModelError, ModelRefused
from roles.purse import BudgetSpent
from roles.quoting import at_most
from roles.records import MODEL_FAILED, PARAGRAPH_CHARACTERS, Verdict

# So many experiments in a row that a model failed close a desk.
FAILURES_IN_A_ROW = 3

# The frozen records that may stand in a checkpoint; everything else is refused on loading.
CHECKPOINTED = [
    ("roles.records", "Direction"),
    ("roles.records", "Hypothesis"),
    ("roles.records", "Verdict"),
    ("roles.records", "Advice"),
    ("trainer.patch", "Patch"),
    ("trainer.patch", "Edit"),
]


def run(lab: Lab) -> list[str]:
    """Measure the baseline, then let all desks work; the reasons why desks closed early.

    What people order from other terminals is followed all the while.

    Raises:
        LabError: the baseline could not be measured.
        Stopped: the run was stopped before the baseline was measured.
    """
    with steered(lab):
        return _run(lab)


def _run(lab: Lab) -> list[str]:
    measure_baseline(lab)
    path = lab.folder / "checkpoints.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30.0)
    # A power cut may cost the last checkpoints, never a sound file: a node runs again from the one
    # before, and finds in the notebook, which waits for the disk, what it did.
    connection.execute("pragma synchronous = normal")
    try:
        saver = SqliteSaver(
            connection, serde=JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINTED)
        )
        chart = build_chart(lab.config.roles, saver, approval=lab.config.approval)
        reasons = _work_all(lab, chart, saver)
    finally:
        connection.close()
        lab.keep_time()
    if not reasons and not lab.stop.is_set():
        lab.notebook.end_run(lab.run.id)
    return reasons


def _work_all(lab: Lab, chart: Chart, saver: SqliteSaver) -> list[str]:
    """All desks until the budget is spent; then what is on the stack is certified."""
    try:
        certify_stack(lab)  # that was interrupted, or was due when the run was
        reasons = Desks(lab, chart, saver).work()
        # A desk that was closed keeps nothing from being proven; without a device nothing can be.
        if lab.devices.names and not lab.stop.is_set():
            certify_stack(lab, "end of the run")
    except Stopped:
        return []
    return reasons


class Desks:
    """The desks of a run: as many as are needed, which is seen anew whenever one is done."""

    def __init__(self, lab: Lab, chart: Chart, saver: SqliteSaver) -> None:
        self.lab, self.chart, self.saver = lab, chart, saver
        self.unfinished = deque(lab.notebook.experiments(closed=False))
        self.failures: Counter[str] = Counter()
        self.closed: dict[str, str] = {}
        self.refused = 0
        self.working: dict[Future[None], tuple[str, Experiment]] = {}

    def work(self) -> list[str]:
        """Until the budget is spent or the run is stopped; the reasons why desks closed early."""
        with ThreadPoolExecutor(self._needed(most=True), thread_name_prefix="desk") as pool:
            try:
                paused = self._occupy(pool)
                while self.working or paused:
                    look = LOOK_SECONDS if paused else None
                    done, _ = wait(self.working, look, FIRST_COMPLETED)
                    for turn in done:
                        self._end(*self.working.pop(turn), turn)
                    if not self.working and paused:
                        self.lab.going.wait(LOOK_SECONDS)
                    paused = self._occupy(pool)
            except BaseException:
                self.lab.stop.set()  # what we did not foresee ends all, or the pool would wait for ever
                raise
        return list(self.closed.values())

    def _needed(self, *, most: bool = False) -> int:
        """How many desks there should be now, or at most."""
        lab, desks = self.lab, self.lab.config.desks
        if desks != "auto":
            return desks
        count = len(lab.devices.all_names if most else lab.devices.names)
        return most_desks(count) if most else desks_needed(lab.notebook, count)

    def _places(self) -> list[str]:
        """The desks that should be at work now; another takes the place of one that was closed.

        Not of one that was refused, which every other would be too; and there is nothing to do
        where no device is left. There are never more than `_needed` says there may be.
        """
        if not self.lab.devices.names:
            return []
        every = (f"desk {number + 1}" for number in range(self._needed(most=True)))
        open_desks = [desk for desk in every if desk not in self.closed]
        return open_desks[: max(self._needed() - self.refused, 0)]

    def _occupy(self, pool: ThreadPoolExecutor) -> bool:
        """Give every desk that is needed and has nothing to do its next experiment.

        True where a pause keeps it from doing so: then it has to be tried again later.
        """
        if not self.lab.going.is_set():
            return not self.lab.stop.is_set()
        busy = {desk for desk, _ in self.working.values()} | {*self.closed}
        for desk in self._places():
            if desk in busy or self.lab.stop.is_set():
                continue
            if (experiment := _next_experiment(self.lab, desk, self.unfinished)) is None:
                break
            turn = pool.submit(_do, self.lab, self.chart, self.saver, experiment)
            self.working[turn] = (desk, experiment)
        return False

    def _end(self, desk: str, experiment: Experiment, turn: Future[None]) -> None:
        """What an experiment has come to, for its desk.

        A model that fails ends the experiment; one that fails over and over, or refuses, closes the
        desk. What it leaves open the next run goes on with.
        """
        self.lab.onlooker.doing(desk, "")
        self.lab.keep_time()
        try:
            turn.result()
            self.failures[desk] = 0
        except (Stopped, AskAbandoned):
            pass  # the next run goes on with it
        except BudgetSpent as error:  # nothing new begins; a run with other dollars goes on with it
            self.lab.onlooker.note(f"{desk}: the dollars are spent: {error}")
        except (ModelRefused, LabError) as error:
            self.refused += isinstance(error, ModelRefused)
            self._close(desk, error)
        except ModelError as error:
            self.failures[desk] += 1
            if self.failures[desk] == FAILURES_IN_A_ROW:
                self._close(desk, error)
            else:
                _give_up(self.lab, self.saver, experiment, error)

    def _close(self, desk: str, error: Exception) -> None:
        self.lab.onlooker.note(f"{desk} is closed: {error}")
        self.closed[desk] = str(error)


def _give_up(lab: Lab, saver: SqliteSaver, experiment: Experiment, error: ModelError) -> None:
    """End an experiment for which a model could not be brought to answer.

    A verdict that is there already stands: whoever speaks after the review changes nothing in it.
    """
    if lab.notebook.experiment(experiment.id).decision is not None:
        lab.onlooker.note(f"experiment {experiment.number} is closed; after that {error}")
    else:
        lab.onlooker.note(f"experiment {experiment.number} is given up: {error}")
        reason = at_most(f"{MODEL_FAILED} {error}", PARAGRAPH_CHARACTERS)
        verdict = Verdict(decision="crash", reason=reason)
        lab.notebook.close_experiment(experiment.id, verdict, None, None)
    saver.delete_thread(experiment.id)


def _next_experiment(lab: Lab, desk: str, unfinished: deque[Experiment]) -> Experiment | None:
    """What was left open, then new ones while the budget lasts."""
    if unfinished:
        return lab.notebook.adopt(unfinished.popleft().id, desk)
    budget = lab.config.budget
    if lab.hours_are_over():
        return None
    if lab.purse.is_empty:
        return None
    return lab.notebook.reserve_experiment(lab.run.id, desk, budget.experiments)


def _do(lab: Lab, chart: Chart, saver: SqliteSaver, experiment: Experiment) -> None:
    """Begin an experiment, or go on with it where a kill or a stop interrupted it."""
    thread: RunnableConfig = {
        "configurable": {"thread_id": experiment.id},
        "recursion_limit": _steps_at_most(lab.config),
    }
    begun = bool(chart.get_state(thread).next)
    given: ExperimentState | None = None if begun else {"experiment": experiment.id}
    with lab.at_work.experiment():
        chart.invoke(given, thread, context=lab, durability="sync")
    saver.delete_thread(experiment.id)  # the notebook has it all


def _steps_at_most(config: Config) -> int:
    """Far above what org.yaml allows: a chart that runs in circles is a bug of ours."""
    patches = HYPOTHESES_PER_EXPERIMENT * (config.roles.engineer.attempts + 1)
    return 100 + patches * (len(NODES) + len(config.roles.advisers))
