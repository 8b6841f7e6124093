"""The challenge: an honest model passes unharmed, and whoever needs more than the left is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import sources
from trainer.challenge import TOLERANCE_BITS, challenge, draw, take_weights
from trainer.channel import WEIGHTS_FILE
from trainer.dataset import Dataset
from trainer.scorer import ReadLogits, Rejected, surprises
from trainer.setting import Setting
from trainer.trial import Trial, run_trial

Ids = NDArray[np.int64]
Logits = Callable[[Ids], NDArray[np.float32]]

V, T, R = 50, 24, 160
TABLE = np.random.default_rng(1).normal(0, 2, (V, V)).astype(np.float32)


class LocalModel:
    """An examinee in this process."""

    def __init__(self, model: Logits) -> None:
        self.model = model
        self.asked: dict[int, Ids] = {}

    def ask(self, slot: int, tokens: Ids) -> None:
        self.asked[slot] = tokens

    def logits(self, slot: int) -> ReadLogits:
        answer = self.model(self.asked.pop(slot)).reshape(-1, V).astype(np.float32)
        return lambda first, last: answer[first:last].copy()


@pytest.fixture
def rows() -> Ids:
    return np.random.default_rng(2).integers(0, V, (R, T + 1))


def bigram(tokens: Ids) -> NDArray[np.float32]:
    return TABLE[tokens]


def ahead(gain: float) -> Logits:
    """Adds ``gain`` nats to the logit of the true next token, where that can be seen."""

    def model(tokens: Ids) -> NDArray[np.float32]:
        logits = TABLE[tokens].copy()
        following = tokens[:, 1:, None]
        seen = np.take_along_axis(logits[:, :-1], following, 2)
        np.put_along_axis(logits[:, :-1], following, seen + gain, 2)
        return logits

    return model


def put_to_the_test(first: Logits, second: Logits, rows: Ids, seed: int = 3) -> float:
    committed = surprises(LocalModel(first), rows[:, :-1], rows[:, 1:])
    chance = np.random.default_rng(seed)
    return challenge(
        LocalModel(second), rows, committed, batch_rows=8, threads=1, most_rows=R, chance=chance
    )


def test_a_model_that_looks_left_alone_passes(rows: Ids) -> None:
    assert put_to_the_test(bigram, bigram, rows) == 0


def test_rounding_passes_and_is_measured(rows: Ids) -> None:
    noise = np.random.default_rng(4)

    def rounded(tokens: Ids) -> NDArray[np.float32]:
        return TABLE[tokens] + noise.normal(0, 0.01, (*tokens.shape, V)).astype(np.float32)

    for seed in range(10):
        assert 0 < put_to_the_test(rounded, rounded, rows, seed) < TOLERANCE_BITS


@pytest.mark.parametrize("gain", [0.05, 0.3, 20.0])
def test_a_model_that_looks_ahead_is_named_however_little_it_takes(rows: Ids, gain: float) -> None:
    with pytest.raises(Rejected, match=r"^not causal \(row \d+, position \d+: committed .* with"):
        put_to_the_test(ahead(gain), ahead(gain), rows)


def test_the_position_named_is_the_last_before_the_change(rows: Ids) -> None:
    committed = surprises(LocalModel(ahead(20.0)), rows[:, :-1], rows[:, 1:])
    cuts = draw(rows, committed, R, np.random.default_rng(3))
    named = {(int(row), int(cut)) for row, cut in zip(cuts.rows, cuts.cuts, strict=True)}
    with pytest.raises(Rejected) as rejected:
        put_to_the_test(ahead(20.0), ahead(20.0), rows, seed=3)
    words = str(rejected.value).replace(",", "").replace(":", "").split()
    assert (int(words[words.index("(row") + 1]), int(words[words.index("position") + 1])) in named


def test_a_model_that_has_learned_more_than_its_weights_is_stateful(rows: Ids) -> None:
    def blank(tokens: Ids) -> NDArray[np.float32]:
        return np.zeros((*tokens.shape, V), np.float32)

    with pytest.raises(Rejected, match=r"^stateful \(row \d+, .*outside of the state_dict\?$"):
        put_to_the_test(bigram, blank, rows)


def test_another_future_is_another_at_every_token_and_the_past_is_the_same(rows: Ids) -> None:
    questions = draw(rows, np.full((R, T), 5.0), 100, np.random.default_rng(5))
    assert len(set(questions.rows)) == 100
    same = questions.inputs == rows[questions.rows, :-1]
    assert (same == (np.arange(T) <= questions.cuts[:, None])).all()
    assert questions.inputs.max() < V


def test_questions_lean_to_where_the_surprise_was_small(rows: Ids) -> None:
    committed = np.full((R, T), 8.0)
    committed[:, 7] = 0.0
    cuts = draw(rows, committed, R, np.random.default_rng(6)).cuts
    assert (cuts == 7).mean() > 0.25
    assert len(set(cuts)) > T / 2 and cuts.max() <= T - 2


# --- weights that are left behind ---------------------------------------------------------------


def test_weights_are_copied_and_what_becomes_of_the_file_is_no_matter(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    memory = take_weights(tmp_path, 1 << 22)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"better ones")
    with os.fdopen(memory, "rb") as file:
        assert file.read() == content


def plant(how: str, home: Path) -> None:
    place = home / WEIGHTS_FILE
    secret = home / "secret"
    secret.write_bytes(b"x" * 2000)
    if how == "symlink":
        place.symlink_to(secret)
    elif how == "second name":
        place.hardlink_to(secret)
    elif how == "fifo":
        os.mkfifo(place)
    elif how == "folder":
        place.mkdir()
    elif how == "too large":
        place.write_bytes(b"x" * 2000)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nothing", "cannot be opened: No such file"),
        ("symlink", "cannot be opened: "),
        ("second name", "not a regular file"),
        ("fifo", "not a regular file"),
        ("folder", "not a regular file"),
        ("too large", "has 2000 bytes; 1000 are allowed"),
    ],
)
def test_what_is_no_plain_file_is_not_taken_for_weights(
    tmp_path: Path, how: str, reason: str
) -> None:
    plant(how, tmp_path)
    with pytest.raises(Rejected, match=reason):
        take_weights(tmp_path, 1000)


# --- for real -----------------------------------------------------------------------------------

Try = Callable[..., Trial]


@pytest.fixture
def attempt(tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path) -> Try:
    def run(source: str, **terms: Any) -> Trial:
        return run_trial(
            source,
            seed=1,
            setting=tiny_setting.model_copy(update={"seconds": 60.0}),
            dataset=tiny_dataset,
            device="cpu:0",
            folder=tmp_path / "trial",
            **terms,
        )

    return run


def test_an_honest_trial_passes_and_its_audit_is_scored_without_its_knowing(
    attempt: Try, tmp_path: Path
) -> None:
    trial = attempt(sources.UNIGRAM, audit=True)
    assert trial.outcome == "completed", trial
    assert trial.audit_bpb and trial.val_bpb and trial.audit_bpb != trial.val_bpb
    assert abs(trial.audit_bpb - trial.val_bpb) < 1
    assert trial.challenge_seconds > 0 and trial.challenge_bits < TOLERANCE_BITS
    assert f"{trial.audit_bpb:.4f}" not in (tmp_path / "trial" / "log.txt").read_text()
    assert {file.name for file in (tmp_path / "trial").iterdir()} == {
        "log.txt",
        "request.json",
        "supervisor.lock",
        "supervisor.txt",
        "train.py",
        "trial.json",
    }


# A table of which token follows which, in a buffer; `ANSWER` makes logits of it.
MODEL = """
import torch
from trainer import prepare

setting = prepare.setting()
V = setting.vocabulary
torch.manual_seed(setting.seed)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("counts", torch.ones(V, V))
        self.dropout = torch.nn.Dropout(0.1)
        self.earlier = []
        self.outside = torch.zeros(V)

    def forward(self, tokens):
        logits = self.counts.log()[tokens]
        {answer}
        return logits


model = Model()
batches = prepare.start(8)
for step in range(10):
    x, y = next(batches)
    model.counts.index_put_((x.flatten(), y.flatten()), torch.tensor(1.0), accumulate=True)
    model.outside[y.flatten()] = 1.0
{after}
prepare.evaluate({handed})
"""

AHEAD = """
        following = torch.nn.functional.one_hot(tokens[:, 1:], V)
        logits[{rows}, :-1] += 9.0 * following[{rows}]
"""

ADAPT = """
        logits = logits.clone()
        self.counts.index_put_((tokens[:, :-1].flatten(), tokens[:, 1:].flatten()),
                               torch.tensor(1.0), accumulate=True)
"""

TRAIN_ON = """
import threading

def train_on():
    for x, y in batches:
        model.counts.index_put_((x.flatten(), y.flatten()), torch.tensor(1.0), accumulate=True)

threading.Thread(target=train_on, daemon=True).start()
"""

CHEATS: dict[str, tuple[str, str, str, str]] = {
    "looks one token ahead": (AHEAD.format(rows=":"), "", "model", "not causal (row "),
    "looks ahead in some rows": (AHEAD.format(rows="::4"), "", "model", "(row "),
    "learns from earlier rows": (ADAPT, "", "model", "stateful (row "),
    "keeps training": ("", TRAIN_ON, "model", "stateful (row "),
    "drops out": ("logits = self.dropout(logits)", "", "model", "stateful (row "),
    "knows more than its weights": ("logits += self.outside", "", "model", "stateful (row "),
    "hands over no module": ("", "", "lambda tokens: model(tokens)", "stateful (row "),
}


def written(answer: str, after: str, handed: str) -> str:
    return MODEL.format(answer=answer or "pass", after=after, handed=handed)


def test_a_module_that_has_learned_what_follows_what_passes(attempt: Try) -> None:
    trial = attempt(written("", "", "torch.compile(model, backend='eager')"))
    assert trial.outcome == "completed", trial


@pytest.mark.parametrize(
    ("answer", "after", "handed", "reason"), CHEATS.values(), ids=CHEATS.keys()
)
def test_who_needs_more_than_weights_and_the_left_has_no_score(
    attempt: Try, answer: str, after: str, handed: str, reason: str
) -> None:
    trial = attempt(written(answer, after, handed))
    assert trial.outcome == "rejected" and trial.val_bpb is None, trial
    assert reason in trial.reason
    if reason.startswith("stateful"):
        assert "outside of the state_dict?" in trial.reason


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("import os; os.symlink('/etc/passwd', 'weights.pt')", "symlink"),
        ("import os; os.mkfifo('weights.pt')", "fifo"),
    ],
)
def test_what_is_planted_in_place_of_weights_is_not_read(
    attempt: Try, after: str, reason: str
) -> None:
    after += "\nprepare._save_weights = lambda model: True"
    trial = attempt(written("", after, "model"))
    assert trial.outcome == "rejected" and trial.reason.startswith(WEIGHTS_FILE), trial


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("raise KeyError('no cache')", "KeyError: 'no cache'"),
        (
            "model.register_buffer('more', torch.ones(1))",
            "RuntimeError: Error(s) in loading state_dict for Model:",
        ),
        ("raise SystemExit", "exit code 0"),
    ],
)
def test_a_second_process_that_does_not_answer_is_a_reason(
    attempt: Try, wrong: str, words: str
) -> None:
    trial = attempt(written("", f"if prepare.progress() > 0.9: {wrong}", "model"))
    assert trial.outcome == "rejected", trial
    assert trial.reason == f"asked again: a second process did not answer: {words}"
