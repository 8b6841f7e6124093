"""What train.py sees of the world: its setting, the training text, the clock, the way to a score.

All of this runs inside the trial's own process and is a convenience there: nothing in it is
trusted. The clock that counts, the score and the validation text belong to the supervisor.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import mmap
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from trainer.channel import CHANNEL_VARIABLE, WEIGHTS_FILE, Channel, ChannelError, Message
from trainer.loader import Loader, batches

REPORT_SECONDS = 0.5
EXPLODED = 3.0  # times the loss of a uniform guess: training that is there will not come back

Model = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TrialSetting:
    """The fixed terms of this trial.

    ``seconds`` is the training budget: processor seconds per thread on a CPU, wall seconds on
    CUDA. ``device`` is ``cpu`` or ``cuda``. ``seed`` is for `torch.manual_seed`; the order of the
    training text follows it already.
    """

    seed: int
    device: str
    threads: int
    sequence_length: int
    vocabulary: int
    bos: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What the supervisor says of a trial once its model is scored. Seconds are wall seconds."""

    val_bpb: float
    training_seconds: float
    startup_seconds: float
    total_seconds: float
    peak_memory_mb: float
    num_steps: int
    total_tokens: int
    num_params: int
    tokens_per_second: float
    mfu_percent: float | None

    def block(self, *, depth: int) -> str:
        """The closing ``---`` block of ``key: value`` lines, as autoresearch prints it."""
        mfu = "unknown" if self.mfu_percent is None else f"{self.mfu_percent:.2f}"
        lines: Mapping[str, str] = {
            "val_bpb": f"{self.val_bpb:.6f}",
            "training_seconds": f"{self.training_seconds:.1f}",
            "total_seconds": f"{self.total_seconds:.1f}",
            "peak_vram_mb": f"{self.peak_memory_mb:.1f}",
            "mfu_percent": mfu,
            "total_tokens_M": f"{self.total_tokens / 1e6:.1f}",
            "num_steps": f"{self.num_steps}",
            "num_params_M": f"{self.num_params / 1e6:.1f}",
            "depth": f"{depth}",
        }
        return "\n".join(["---", *(f"{key + ':':<18}{text}" for key, text in lines.items())])


def setting() -> TrialSetting:
    """The terms of this trial; asking again gives the same."""
    return _trial().setting


@contextlib.contextmanager
def warming_up() -> Iterator[None]:
    """Compile and warm up, on made-up batches, in this block: its seconds are told by themselves.

    Raises:
        RuntimeError: the clock was started before.
    """
    with _trial().warming_up():
        yield


def start(rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Start the clock and open the training text, which is not reachable before.

    Yields, for ever, inputs and targets of shape (rows, sequence_length), int64, on the device.

    Raises:
        ValueError: fewer than one row was asked for.
        RuntimeError: the clock was started before.
    """
    if rows < 1:
        raise ValueError(f"a batch needs at least one row, not {rows}")
    return _trial().start(rows)


def progress() -> float:
    """The share of the budget that is spent, from 0 to 1 (0 before `start`).

    On a CPU this is the processor time of this process since the start, divided by its threads; on
    CUDA it is wall time, and `torch.cuda.synchronize` is the caller's business. Start-up beyond
    the allowance is counted in; what child processes use is not, but the supervisor counts it.
    """
    return _trial().progress()


def report(
    step: int,
    loss: float,
    *,
    tokens: int = 0,
    parameters: int = 0,
    flops_per_token: float = 0.0,
) -> None:
    """Say how far training is: cheap, may be called every step.

    ``loss`` is the training loss in nats per token, ``tokens`` all tokens seen so far.
    ``flops_per_token`` counts forward and backward pass; left out, the MFU is unknown.

    Raises:
        FloatingPointError: the loss is not finite, or (after the first report) more than
            `EXPLODED` times log(vocabulary); left alone, it ends the trial as crashed.
    """
    said = {"tokens": tokens, "parameters": parameters, "flops_per_token": flops_per_token}
    _trial().report(step, loss, said)


def evaluate(model: Model) -> Summary:
    """Stop the clock and hand the model over to be scored: the only way to a val_bpb.

    ``model`` maps token ids (B, T), int64, on the device, to logits (B, T, vocabulary) of any
    float type. It is called without gradients. Its answers must follow from the tokens to the left
    and from its ``state_dict()`` alone: a second process, fresh from this very script after a step
    on made-up batches, gets just these weights and must answer the same. A callable that is no
    `torch.nn.Module` has no weights.
    """
    return _trial().evaluate(model)


class _Trial:
    """The trial's end of the channel, and what it has to remember between two calls."""

    def __init__(self, channel: Channel, terms: Message) -> None:
        self._channel = channel
        self.setting = TrialSetting(**terms["setting"])
        self._started_at: float | None = None
        self._charged_seconds = 0.0
        self._warmup_seconds = 0.0
        self._loader: Loader | None = None
        self._said: dict[str, object] = {}
        self._point: tuple[float, float] | None = None
        self._reported_at = -math.inf
        self._evaluating = False
        atexit.register(self._last_report)

    @contextlib.contextmanager
    def warming_up(self) -> Iterator[None]:
        if self._started_at is not None:
            raise RuntimeError("the clock was started before: warm up before prepare.start")
        began_at = time.monotonic()
        yield
        if self.setting.device == "cuda":
            torch.cuda.synchronize()
        self._warmup_seconds += time.monotonic() - began_at

    def start(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self._started_at is not None:
            raise RuntimeError("the clock was started before: call prepare.start once")
        self._channel.send("start", {"warmup_seconds": self._warmup_seconds})
        begin = _next(self._channel)
        self._charged_seconds = begin["charged_seconds"]
        self._started_at = self._clock()
        tokens, offsets = begin["descriptors"]
        self._loader = batches(
            _mapped(tokens, "<u2"),
            _mapped(offsets, "<i8"),
            rows=rows,
            sequence_length=self.setting.sequence_length,
            bos=self.setting.bos,
            seed=begin["order_seed"],
            device=self.setting.device,
        )
        return self._loader

    def progress(self) -> float:
        if self._started_at is None:
            return 0.0
        spent = self._charged_seconds + self._clock() - self._started_at
        return min(1.0, spent / self.setting.seconds)

    def report(self, step: int, loss: float, said: Mapping[str, float]) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step}")
        if self._said and loss > EXPLODED * math.log(self.setting.vocabulary):
            raise FloatingPointError(f"the loss exploded to {loss:.4g} at step {step}")
        self._said = {"step": step, **said}
        self._point = (self.progress(), loss)
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._send_report()

    def evaluate(self, model: Model) -> Summary:
        if self.setting.device == "cuda":
            torch.cuda.synchronize()
        self._send_report()
        self._evaluating = True
        self._channel.send("evaluate", {"weights": _save_weights(model)})
        if self.setting.device == "cuda":
            torch.cuda.empty_cache()  # a second process is about to need what training held
        return self._examined(model)

    def _examined(self, model: Model) -> Summary:
        """Answer what is asked of the model, until its score is known."""
        shared = _next(self._channel)
        descriptor, *weights = shared["descriptors"]
        if weights:
            _load_weights(model, *weights)
        slots = torch.frombuffer(_writable(descriptor), dtype=torch.float32).view(shared["shape"])
        if self.setting.device == "cuda":
            _pin(slots)
        while True:
            message = _next(self._channel)
            if message["kind"] == "summary":
                atexit.register(_leave)
                return Summary(**message["summary"])
            shape = self._answer(model, message["tokens"], slots[message["slot"]])
            self._channel.send("answer", {"slot": message["slot"], "shape": shape})

    def _answer(self, model: Model, rows: list[list[int]], slot: torch.Tensor) -> list[int]:
        """Write the logits of one batch into its slot, and give their shape."""
        tokens = torch.tensor(rows, device=self.setting.device)
        with torch.inference_mode():
            logits = model(tokens)
            if logits.shape == slot[: len(rows)].shape:
                slot[: len(rows)].copy_(logits)
        return list(logits.shape)

    def _clock(self) -> float:
        if self.setting.device == "cuda":
            return time.monotonic()
        return time.process_time() / self.setting.threads

    def _send_report(self) -> None:
        told = {**self._said, "point": self._point}
        if self._loader is not None:
            told["data_wait_seconds"] = self._loader.waited_seconds
        if self.setting.device == "cuda":
            told["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        self._channel.send("report", told)
        self._point = None
        self._reported_at = time.monotonic()

    def _last_report(self) -> None:
        """How far it came, if it ends before its model is handed over."""
        if not self._evaluating:
            with contextlib.suppress(ChannelError):
                self._send_report()


class _Second(_Trial):
    """The same in the second, fresh process: it learns nothing and is given the weights.

    Made-up batches stand in for the text, and progress goes from 0 by way of 0.99 to 1 as they
    are drawn: every part of the training is passed through once, in two steps.
    """

    _PROGRESS = (0.0, 0.99, 1.0)

    def __init__(self, channel: Channel, terms: Message) -> None:
        super().__init__(channel, terms)
        self._stage = 0
        self._drawn = False

    def start(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self._started_at is not None:
            raise RuntimeError("the clock was started before: call prepare.start once")
        self._started_at = time.monotonic()
        return self._made_up(rows)

    def progress(self) -> float:
        if self._drawn and self._stage < 2:
            self._stage += 1
        self._drawn = False
        return self._PROGRESS[self._stage]

    def report(self, step: int, loss: float, said: Mapping[str, float]) -> None:
        """Nobody wants to know."""

    def evaluate(self, model: Model) -> Summary:
        self._evaluating = True
        self._channel.send("evaluate", {"weights": False})
        return self._examined(model)

    def _made_up(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        terms = self.setting
        chance = torch.Generator().manual_seed(terms.seed)
        shape = (rows, terms.sequence_length + 1)
        while True:
            self._drawn = True
            batch = torch.randint(terms.vocabulary, shape, generator=chance)
            batch[:, 0] = terms.bos
            batch = batch.to(terms.device)
            yield batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def _last_report(self) -> None:
        """Nobody wants to know."""


def _save_weights(model: Model) -> bool:
    """Leave the model's weights where the supervisor takes them; False if it has none."""
    if not isinstance(model, torch.nn.Module):
        return False
    weights = {_plain(name): value for name, value in model.state_dict().items()}
    torch.save(weights, Path(os.environ["HOME"], WEIGHTS_FILE))
    return True


def _load_weights(model: Model, descriptor: int) -> None:
    with os.fdopen(descriptor, "rb") as file:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(model, torch.nn.Module):
        raise TypeError("the model handed over is no torch.nn.Module, and was one before")
    # A name that is missing here is reported by load_state_dict as it stands there.
    names = {_plain(name): name for name in model.state_dict()}
    model.load_state_dict({names.get(name, name): value for name, value in weights.items()})


def _plain(name: str) -> str:
    """A parameter's name, whether or not the module around it is compiled."""
    return name.replace("_orig_mod.", "")


def _leave() -> None:
    """End the process now that the score is in: to take torch apart would cost 0.4 s of device."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(hasattr(sys, "last_value"))  # 1 after an exception that nobody caught


@cache
def _trial() -> _Trial:
    number = os.environ.pop(CHANNEL_VARIABLE, None)
    if number is None:
        _run_supervised()
    os.set_inheritable(int(number), False)
    channel = Channel(socket.socket(fileno=int(number)), descriptors=True)
    terms = _next(channel)
    if not terms["challenge"]:
        return _Trial(channel, terms)
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # to compile takes longer than all the answers
    return _Second(channel, terms)


def _next(channel: Channel) -> Message:
    """What the supervisor says next; a trial has nothing to do but wait for it."""
    while (message := channel.receive(3600.0)) is None:
        pass
    return message


def _mapped(descriptor: int, dtype: str) -> np.ndarray:
    with os.fdopen(descriptor, "rb") as file:
        return np.memmap(file, dtype=dtype, mode="r")


def _writable(descriptor: int) -> mmap.mmap:
    with os.fdopen(descriptor, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _pin(memory: torch.Tensor) -> None:
    """Let the GPU write there by itself, many times as fast as by way of a buffer of its driver.

    Raises:
        RuntimeError: the driver refuses.
    """
    cuda = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    torch.cuda.check_error(cuda.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))


def _run_supervised() -> NoReturn:
    """Run this very script as a trial, copy its log to the terminal, and end as the trial did.

    ``SEED`` and ``SECONDS`` in the environment replace seed 1337 and the profile's budget.
    """
    # A trial never gets here: what only a run by hand needs is imported only then.
    from trainer.dataset import build_dataset
    from trainer.devices import find_devices
    from trainer.setting import PROFILES, default_cache
    from trainer.trial import TrialAbandoned, run_trial

    source = Path(sys.modules["__main__"].__file__ or "").read_text()
    device = find_devices("auto")[0]
    terms = PROFILES["cpu" if device.startswith("cpu") else "gpu"]
    seconds = float(os.environ.get("SECONDS", terms.seconds))
    terms = terms.model_copy(update={"seconds": seconds})
    dataset = build_dataset(terms, default_cache(), lambda line: print(line, flush=True))
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_trial,
            source,
            seed=int(os.environ.get("SEED", "1337")),
            setting=terms,
            dataset=dataset,
            device=device,
            folder=Path(folder),
            stop=stop,
        )
        try:
            _follow(Path(folder, "log.txt"), running.done)
        except KeyboardInterrupt:
            stop.set()
        try:
            trial = running.result()
        except TrialAbandoned:
            sys.exit(130)
    sys.exit(None if trial.outcome == "completed" else f"{trial.outcome}: {trial.reason}")


def _follow(log: Path, done: Callable[[], bool]) -> None:
    """Copy a growing log to the terminal until there will be no more of it."""
    place, ended = 0, False
    while not ended:
        ended = done()
        if log.exists():
            with log.open("rb") as file:
                file.seek(place)
                part = file.read()
            place += len(part)
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
        time.sleep(0 if ended else 0.1)
