"""What passes between a supervisor and the trial it watches, from the first message to the score.

Knows the clock and the dataset; starts and ends no process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from trainer import descendants, sandbox
from trainer.challenge import ROWS_ON_CPU, ROWS_ON_CUDA, challenge, take_weights
from trainer.channel import Channel, ChannelClosed, ChannelError, Message
from trainer.clock import Clock
from trainer.dataset import evaluation_rows
from trainer.devices import available_cores
from trainer.endings import explain, explain_second, read_tail
from trainer.pace import Precedence, give_precedence, take_precedence_away
from trainer.scorer import Rejected, RemoteModel, bits_per_byte, rows_per_batch, surprises
from trainer.telemetry import Curve, device_model, peak_flops_per_second
from trainer.trial import Outcome, Request, Trial
from trainer.wall import exit_code

GRACE_SECONDS = 1.0  # a last step may overrun the budget by this much, and by a share of it
GRACE_SHARE = 0.01
PATIENCE = 10  # wall seconds per second of budget before a trial counts as stuck
ANSWER_SECONDS = 120.0  # for all rows of a split; it takes 2 to 20 s
SECOND_PATIENCE = 2  # wall seconds per second of start-up and budget until a second is ready
FAREWELL_SECONDS = 10.0  # to print a summary and exit, once the score is known
LOOK_SECONDS = (0.02, 0.5)  # the shortest and the longest time between two looks at a trial
HANG_UP_SECONDS = 10.0  # between the end of a channel and that of its process


class Ending(Exception):
    """How a trial ended; without a reason where its exit code and its log say more."""

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class TrialProcess(Protocol):
    """A process that runs train.py, as a supervisor starts it (`trainer.supervisor`)."""

    home: Path
    channel: Channel
    process: subprocess.Popen[bytes]

    def remain_alone(self) -> None:
        """End all other processes below the supervisor."""


class _Start(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    warmup_seconds: FiniteFloat = Field(ge=0)


class _Evaluate(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["evaluate"]
    weights: bool


class _Report(BaseModel):
    """How far training is; without a point where the last report had the last one already."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    step: NonNegativeInt = Field(default=0, le=2**53)
    tokens: NonNegativeInt = Field(default=0, le=2**63 - 1)
    parameters: NonNegativeInt = Field(default=0, le=2**63 - 1)
    flops_per_token: FiniteFloat = Field(default=0.0, ge=0)
    data_wait_seconds: FiniteFloat = Field(default=0.0, ge=0)
    peak_memory_mb: FiniteFloat | None = Field(default=None, ge=0)
    point: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)] | None = None


_Heard = TypeVar("_Heard", bound=BaseModel)


class Watch:
    """One trial, watched until it ends; then a `Trial` can be made of it."""

    def __init__(
        self,
        request: Request,
        first: TrialProcess,
        start_second: Callable[[], TrialProcess],
        began_at: float,
    ) -> None:
        self._request = request
        self._setting = request.setting
        self._home = first.home
        self._process = first.process
        self._channel = first.channel
        self._start_second = start_second
        self._clock = Clock(request.setting, request.device.startswith("cpu"), began_at)
        self._limit = request.setting.seconds * (1 + GRACE_SHARE) + GRACE_SECONDS
        self._look_at = began_at
        self._ending = Ending("crashed")
        self._weights: int | None = None
        self._process_number: int | None = None  # while it has precedence
        self._precedence: Precedence = "none"
        self._second: TrialProcess | None = None
        self._second_failed = False
        self._val_bpb: float | None = None
        self._audit_bpb: float | None = None
        self._challenge_seconds = 0.0
        self._challenge_bits = 0.0
        self._scored_at: float | None = None
        self._peak_memory_mb = 0.0
        self._warmup_seconds = 0.0
        self._reported = _Report(kind="report")
        self._curve = Curve()
        self._peak_flops_per_second = peak_flops_per_second(device_model(request.device))
        self._batch_rows = rows_per_batch(
            request.setting.sequence_length, request.setting.vocabulary, on_cpu=self._on_cpu
        )
        # On a CPU the cores are for trials; beside a GPU they have nothing to do but this.
        self._threads = request.setting.threads if self._on_cpu else len(available_cores())
        self._rows = self._split("validation")
        self._token_bytes: NDArray[np.int64] = np.load(request.dataset.token_bytes)

    def until_the_end(self) -> None:
        """Answer the trial until it is scored, fails, or has used up its time."""
        try:
            self._pass_through()
        except Ending as ending:
            self._ending = ending
        except Rejected as rejected:
            self._ending = Ending("rejected", str(rejected))
        except ChannelClosed:
            self._ending = self._exit()
        except ChannelError as error:
            self._ending = Ending("rejected", f"on its channel: {error}")
        finally:
            self._clock.stop()

    def _pass_through(self) -> None:
        """All that a trial goes through; how it ended, unless that is raised."""
        self._train()
        self._second = second = self._start_second()
        committed = self._score()
        self._say_goodbye()
        second.remain_alone()  # it has nobody to ask
        self._challenge(second, committed)
        self._ending = Ending("completed")

    def trial(self, log: Path, second_log: Path) -> Trial:
        """What became of it, once all its processes are gone and its logs are complete."""
        now, clock = time.monotonic(), self._clock
        tail = read_tail(second_log if self._second_failed else log)
        if self._on_cpu:
            self._peak_memory_mb = max(
                self._peak_memory_mb, descendants.peak_memory_of_the_dead_mb()
            )
        completed = self._ending.outcome == "completed"
        startup_end = clock.started_at or clock.stopped_at or now
        return Trial(
            source_sha=self._request.source_sha,
            seed=self._request.seed,
            device=self._request.device,
            outcome=self._ending.outcome,
            reason=self._ending.reason or self._explain(tail),
            val_bpb=self._val_bpb if completed else None,
            audit_bpb=self._audit_bpb if completed else None,
            wall=self._request.wall,
            precedence=self._precedence,
            budget_seconds=clock.spent(),
            startup_seconds=startup_end - clock.began_at,
            warmup_seconds=min(self._warmup_seconds, startup_end - clock.began_at),
            training_seconds=self._training_seconds(),
            data_wait_seconds=min(self._reported.data_wait_seconds, self._training_seconds()),
            evaluation_seconds=(self._scored_at or now) - (clock.stopped_at or now),
            challenge_seconds=self._challenge_seconds,
            challenge_bits=self._challenge_bits,
            total_seconds=now - clock.began_at,
            peak_memory_mb=self._peak_memory_mb,
            steps=self._reported.step,
            tokens=self._reported.tokens,
            parameters=self._reported.parameters,
            tokens_per_second=self._tokens_per_second(),
            mfu_percent=self._mfu_percent(),
            loss_curve=self._curve.points(),
            log_tail=tail,
            pins=self._request.pins
            | {"evaluation": hashlib.sha256(self._rows.tobytes()).hexdigest()},
        )

    @property
    def _on_cpu(self) -> bool:
        return self._request.device.startswith("cpu")

    def _train(self) -> None:
        """Until the model is handed over."""
        while True:
            message = self._channel.receive(max(0.0, self._look_at - time.monotonic()))
            if time.monotonic() >= self._look_at:
                self._look()
            if message is None:
                if self._process.poll() is not None:
                    raise self._exit()
            elif message["kind"] == "start":
                self._open_training_text(_parsed(_Start, message))
            elif message["kind"] == "report":
                self._note(_parsed(_Report, message))
            elif message["kind"] == "evaluate":
                self._take_over(_parsed(_Evaluate, message))
                return
            else:
                raise Ending("rejected", f"on its channel: {message['kind']!r} means nothing here")

    def _look(self) -> None:
        """See what the trial uses; end it when that is too much; say when to look again."""
        spent = self._clock.spent()
        if spent > self._limit:
            raise Ending(
                "timed_out", f"{spent:.1f} s spent; the budget is {self._setting.seconds:g} s"
            )
        wall = time.monotonic() - self._clock.began_at
        if wall > PATIENCE * (self._setting.startup_seconds + self._setting.seconds):
            raise Ending(
                "timed_out", f"stuck: only {spent:.1f} s of its budget spent in {wall:.0f} s"
            )
        self._look_at_memory()
        if (count := descendants.process_count()) > sandbox.PROCESS_LIMIT:
            limit = f"a trial may have {sandbox.PROCESS_LIMIT}"
            raise Ending("crashed", f"too many processes: {count} ({limit})")
        if (home_mb := descendants.folder_mb(self._home)) > sandbox.HOME_LIMIT_MB:
            limit = f"a trial may keep {sandbox.HOME_LIMIT_MB:.0f} MB"
            raise Ending("crashed", f"too much on disk: {home_mb:.0f} MB ({limit})")
        soonest_end = (self._limit - spent) / (os.cpu_count() or 1)
        self._look_at = time.monotonic() + min(LOOK_SECONDS[1], max(LOOK_SECONDS[0], soonest_end))

    def _look_at_memory(self) -> None:
        memory_mb = descendants.memory_mb()
        if self._on_cpu:
            self._peak_memory_mb = max(self._peak_memory_mb, memory_mb)
        if memory_mb > 1024 * self._setting.memory_gb:
            limit = f"a trial may have {self._setting.memory_gb:g} GB"
            raise Ending("crashed", f"out of memory: peak {memory_mb:.0f} MB ({limit})")

    def _open_training_text(self, start: _Start) -> None:
        if self._clock.started_at is not None:
            raise Ending("rejected", "it started its clock twice")
        self._warmup_seconds = start.warmup_seconds
        if self._on_cpu and self._request.precedence:
            self._process_number = descendants.number_of("train.py")
            if self._process_number:
                self._precedence = give_precedence(self._process_number, self._setting.threads)
        dataset = self._request.dataset
        with dataset.train_tokens.open("rb") as tokens, dataset.train_offsets.open("rb") as offsets:
            self._channel.send(
                "begin",
                {"charged_seconds": self._clock.start(), "order_seed": self._order_seed()},
                [tokens.fileno(), offsets.fileno()],
            )

    def _order_seed(self) -> int:
        request = self._request
        return request.seed if request.order_seed is None else request.order_seed

    def _note(self, report: _Report) -> None:
        self._reported = report
        if report.point is not None:
            self._curve.add((report.point[0], report.point[1]))
        if report.peak_memory_mb is not None and not self._on_cpu:
            self._peak_memory_mb = report.peak_memory_mb

    def _take_over(self, evaluate: _Evaluate) -> None:
        """The weights are ours from here on, and with that the clock stops."""
        if evaluate.weights:
            limit_bytes = int(self._setting.memory_gb * 2**30)
            self._weights = take_weights(self._home, limit_bytes)
        self._look()
        self._clock.stop()
        if self._process_number:
            take_precedence_away(self._process_number)

    def _training_seconds(self) -> float:
        """Wall seconds from the start of the clock to its stop."""
        if self._clock.started_at is None:
            return 0.0
        return (self._clock.stopped_at or time.monotonic()) - self._clock.started_at

    def _tokens_per_second(self) -> float:
        seconds = self._training_seconds()
        return self._reported.tokens / seconds if seconds else 0.0

    def _mfu_percent(self) -> float | None:
        flops_per_second = self._reported.flops_per_token * self._tokens_per_second()
        if not flops_per_second or self._peak_flops_per_second is None:
            return None
        return 100 * flops_per_second / self._peak_flops_per_second

    def _split(self, name: Literal["validation", "audit"]) -> NDArray[np.int64]:
        """Its rows (R, T + 1)."""
        terms = self._setting
        return evaluation_rows(
            self._request.dataset, name, terms.sequence_length, terms.evaluation_tokens
        )

    def _examine(self, channel: Channel, weights: int | None = None) -> RemoteModel:
        return RemoteModel(
            channel,
            batch_rows=self._batch_rows,
            sequence_length=self._setting.sequence_length,
            vocabulary=self._setting.vocabulary,
            answer_seconds=ANSWER_SECONDS,
            weights=weights,
        )

    def _score(self) -> NDArray[np.float64]:
        """Score the first process; its surprises (R, T) on the validation rows are committed."""
        try:
            with contextlib.closing(self._examine(self._channel)) as model:
                committed, self._val_bpb = self._scored(model, self._rows)
                self._scored_at = time.monotonic()
                if self._request.audit:
                    model.allow(ANSWER_SECONDS)
                    _, self._audit_bpb = self._scored(model, self._split("audit"))
        finally:
            self._scored_at = self._scored_at or time.monotonic()
        return committed

    def _scored(
        self, model: RemoteModel, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], float]:
        targets = rows[:, 1:]
        bits = surprises(
            model, rows[:, :-1], targets, batch_rows=self._batch_rows, threads=self._threads
        )
        return bits, bits_per_byte(bits, targets, self._token_bytes)

    def _challenge(self, second: TrialProcess, committed: NDArray[np.float64]) -> None:
        """Ask the second process, which alone is left, once it is ready."""
        began_at = time.monotonic()
        try:
            self._await_second(second.channel)
            with contextlib.closing(self._examine(second.channel, self._weights)) as model:
                self._challenge_bits = challenge(
                    model,
                    self._rows,
                    committed,
                    batch_rows=self._batch_rows,
                    threads=self._threads,
                    most_rows=ROWS_ON_CPU if self._on_cpu else ROWS_ON_CUDA,
                    chance=np.random.default_rng(),  # seeded by the system: nobody can foresee it
                )
        except ChannelError as error:
            self._second_failed = True
            raise Ending("rejected") from error  # its exit code and its log say more
        finally:
            self._challenge_seconds = time.monotonic() - began_at

    def _await_second(self, channel: Channel) -> None:
        seconds = SECOND_PATIENCE * (self._setting.startup_seconds + self._setting.seconds)
        message = channel.receive(seconds)
        if message is None:
            raise Rejected(f"asked again: a second process was not ready within {seconds:.0f} s")
        _parsed(_Evaluate, message)

    def _say_goodbye(self) -> None:
        """Tell the trial its score, and give it time to print it; it cannot lose it any more."""
        clock, now = self._clock, time.monotonic()
        started_at = clock.started_at or clock.stopped_at or now
        summary = {
            "val_bpb": self._val_bpb,
            "training_seconds": self._training_seconds(),
            "startup_seconds": started_at - clock.began_at,
            "total_seconds": now - clock.began_at,
            "peak_memory_mb": self._peak_memory_mb,
            "num_steps": self._reported.step,
            "total_tokens": self._reported.tokens,
            "num_params": self._reported.parameters,
            "tokens_per_second": self._tokens_per_second(),
            "mfu_percent": self._mfu_percent(),
        }
        with contextlib.suppress(ChannelError):
            self._channel.send("summary", {"summary": summary})
            while self._channel.receive(now + FAREWELL_SECONDS - time.monotonic()):
                pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def _exit(self) -> Ending:
        """The trial hung up, or its first process ended: with what, its exit code will say."""
        try:
            self._process.wait(HANG_UP_SECONDS)
        except subprocess.TimeoutExpired:
            return Ending("rejected", "it closed its channel and went on")
        return Ending("crashed")

    def _explain(self, tail: str) -> str:
        if self._second_failed and self._second:
            return explain_second(exit_code(self._second.process), tail)
        return explain(
            exit_code(self._process),
            tail,
            is_completed=self._ending.outcome == "completed",
            was_asked=self._scored_at is not None,
            peak_memory_mb=self._peak_memory_mb,
        )


def _parsed(kind: type[_Heard], message: Message) -> _Heard:
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        what = error.errors()[0]
        place = ".".join(str(part) for part in what["loc"])
        raise Ending("rejected", f"on its channel: {place}: {what['msg']}") from error
