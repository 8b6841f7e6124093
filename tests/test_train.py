"""The baseline train.py: causal, well initialized, exact where it is fast, the same for a seed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

VOCABULARY = 512
CONTEXT = 64
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fresh copy of train.py, in float32 so that references can be met closely."""
    path = Path(__file__).parents[1] / "trainer" / "train.py"
    spec = importlib.util.spec_from_file_location("train_under_test", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DTYPE", torch.float32)
    return module


def stirred(train: Any) -> Any:
    """A default model without the zeros of its start, behind which a mistake could hide."""
    torch.manual_seed(1)
    model = train.GPT(VOCABULARY, CONTEXT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def made_up(rows: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a text in which the next token follows from the last."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        first = torch.randint(VOCABULARY, (rows, 1), generator=generator)
        row = (first + 7 * torch.arange(CONTEXT + 1)) % VOCABULARY
        yield row[:, :-1].contiguous(), row[:, 1:].contiguous()


def ids(rows: int = 2) -> Tensor:
    return torch.randint(VOCABULARY, (rows, CONTEXT), generator=torch.Generator().manual_seed(3))


# --- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["L", "SL"])
def test_a_changed_token_moves_no_logits_before_it(train: Any, pattern: str) -> None:
    train.WINDOW_PATTERN, train.SHORT_WINDOW = pattern, 16
    model = stirred(train)
    before = ids()
    after = before.clone()
    after[:, 40:] = (after[:, 40:] + 1) % VOCABULARY
    with torch.no_grad():
        old, new = model(before), model(after)
    torch.testing.assert_close(old[:, :40], new[:, :40], rtol=0, atol=1e-5)
    assert (old[:, 40:] - new[:, 40:]).abs().max() > 0.1


def test_every_parameter_gets_a_gradient(train: Any) -> None:
    model = stirred(train)
    model.loss(ids(), ids().roll(-1, 1)).backward()
    without = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


def test_an_untrained_model_is_as_good_as_a_uniform_guess(train: Any) -> None:
    torch.manual_seed(0)
    loss = train.GPT(VOCABULARY, CONTEXT).loss(ids(), ids().roll(-1, 1))
    assert loss.item() == pytest.approx(math.log(VOCABULARY), abs=0.05)


def test_logits_are_in_float32_and_within_the_soft_cap(train: Any) -> None:
    logits = stirred(train)(ids())
    assert logits.shape == (2, CONTEXT, VOCABULARY)
    assert logits.dtype == torch.float32
    assert logits.abs().max() <= train.SOFTCAP


def test_the_loss_made_in_chunks_has_the_gradients_of_plain_cross_entropy(
    train: Any,
) -> None:
    train.LOSS_CHUNK = 24  # the last chunk is not full
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 32, generator=generator)
    head = torch.randn(VOCABULARY, 32, generator=generator)
    targets = torch.randint(VOCABULARY, (100,), generator=generator)

    def plain(x: Tensor, head: Tensor) -> Tensor:
        cap = train.SOFTCAP
        return F.cross_entropy(cap * torch.tanh(x.double() @ head.double().T / cap), targets)

    def in_chunks(x: Tensor, head: Tensor) -> Tensor:
        loss: Tensor = train.ChunkedLoss.apply(x, head * (2 / train.SOFTCAP), targets)
        return loss

    losses, gradients = [], []
    for function in (plain, in_chunks):
        leaves = x.clone().requires_grad_(), head.clone().requires_grad_()
        loss = function(*leaves)
        losses.append(loss.detach().float())
        gradients.append(torch.autograd.grad(3 * loss, leaves))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


# --- attention ----------------------------------------------------------------------------------


def reference_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention by its definition, in float64; (B, T, heads, width) in and out."""
    q, k, v = (x.double() for x in (q, k, v))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.size(-1) ** 0.5
    distance = torch.arange(q.size(1))[:, None] - torch.arange(q.size(1))
    hidden = (distance < 0) | (distance >= window)
    scores = scores.masked_fill(hidden.to(scores.device), -torch.inf)
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length, window", [(64, 64), (64, 40), (64, 16), (50, 16), (50, 1)])
def test_attention_sees_its_window_and_nothing_else(
    train: Any, device: str, dtype: torch.dtype, length: int, window: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (2, length, 3, 32)
    qkv = [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(3)]
    upstream = torch.randn(shape, generator=generator).to(device)
    tolerance = 1e-5 if dtype == torch.float32 and device == "cpu" else 5e-2

    results: list[list[Tensor]] = []
    functions: list[Callable[..., Tensor]] = [reference_attention, train.attention]
    for function in functions:
        leaves = [x.clone().requires_grad_() for x in qkv]
        y = function(*leaves, window).float()
        results.append([y, *torch.autograd.grad(y, leaves, upstream)])
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)


def test_the_last_layer_always_sees_the_whole_context(train: Any) -> None:
    train.DEPTH, train.WINDOW_PATTERN, train.SHORT_WINDOW = 5, "SSL", 16
    windows = [train.window_of(layer, CONTEXT) for layer in range(5)]
    assert windows == [16, 16, CONTEXT, 16, CONTEXT]


# --- optimizers ---------------------------------------------------------------------------------


def reference_muon(
    weight: Tensor, gradients: list[Tensor], train: Any, *, lr: float, decay: float
) -> Tensor:
    """The published rules, matrix by matrix, in float64."""
    rows, columns = weight.shape
    w, velocity = weight.double(), torch.zeros(rows, columns, dtype=torch.float64)
    along = 1 if rows >= columns else 0
    variance = torch.zeros(1, dtype=torch.float64)
    for gradient in gradients:
        g = gradient.double()
        velocity = 0.9 * velocity + 0.1 * g
        x = 0.1 * g + 0.9 * velocity
        x = x / (1.02 * x.norm())
        for a, b, c in train.POLAR_EXPRESS:
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        size = x.square().mean(along, keepdim=True)
        variance = train.MUON_BETA2 * variance + (1 - train.MUON_BETA2) * size
        even = x / variance.sqrt()
        x = even * (x.norm() / even.norm())
        towards_zero = (x * w > 0).double()
        w = w - lr * max(1, rows / columns) ** 0.5 * (x + decay * towards_zero * w)
    return w


def test_muon_follows_its_float64_reference(train: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 24, 24), (48, 24), (24, 48), (24, 24)]
    parameters = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    gradients = [[torch.randn(s, generator=generator) for s in shapes] for _ in range(3)]
    expected = []
    for i, p in enumerate(parameters):
        matrices = p.detach().reshape(-1, *p.shape[-2:])
        history = [g[i].reshape(matrices.shape) for g in gradients]
        expected.append(
            torch.stack(
                [
                    reference_muon(w, [g[j] for g in history], train, lr=0.02, decay=0.1)
                    for j, w in enumerate(matrices)
                ]
            )
        )
    optimizer = train.Muon(parameters)
    for step in gradients:
        for p, g in zip(parameters, step, strict=True):
            p.grad = g.clone()
        optimizer.step(lr=0.02, momentum=0.9, decay=0.1)
    for p, w in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.detach().double(), w.view_as(p), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 32, 32), (2, 64, 16), (2, 16, 64)])
def test_orthogonalized_matrices_have_singular_values_near_one(
    train: Any, shape: tuple[int, int, int]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(train.orthogonalize(x))
    assert values.min() > 0.6 and values.max() < 1.25


def test_adamw_follows_its_float64_reference(train: Any) -> None:
    model = stirred(train)
    optimizer = train.adamw(model)
    gradients = [torch.randn_like(model.embedding) for _ in range(3)]
    w = model.embedding.detach().double()
    lr = train.EMBEDDING_LR * (train.WIDTH / train.REFERENCE_WIDTH) ** -0.5
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for step, gradient in enumerate(gradients, start=1):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        model.embedding.grad = gradient.clone()
        optimizer.step()
        g = gradient.double()
        first = train.ADAM_BETA1 * first + (1 - train.ADAM_BETA1) * g
        second = train.ADAM_BETA2 * second + (1 - train.ADAM_BETA2) * g * g
        m, v = first / (1 - train.ADAM_BETA1**step), second / (1 - train.ADAM_BETA2**step)
        w = w * (1 - lr * train.EMBEDDING_DECAY) - lr * m / (v.sqrt() + train.ADAM_EPS)
    torch.testing.assert_close(model.embedding.detach().double(), w, rtol=1e-4, atol=1e-5)


def test_every_parameter_has_exactly_one_optimizer(train: Any) -> None:
    model = train.GPT(VOCABULARY, CONTEXT)
    with_adamw = [p for group in train.adamw(model).groups for p in group["parameters"]]
    with_muon = [p for group, _, _ in train.muon(model).groups for p in group]
    assert sorted(map(id, with_adamw + with_muon)) == sorted(map(id, model.parameters()))


# --- training -----------------------------------------------------------------------------------


def trained(train: Any, seed: int, steps: int = 6) -> tuple[list[float], list[Tensor]]:
    torch.manual_seed(seed)
    trainer = train.Trainer(VOCABULARY, CONTEXT)
    trainer.warm_up()
    batches = made_up(train.ROWS, seed)
    losses = [trainer.step(batches, step / steps) for step in range(steps)]
    return losses, [p.detach() for p in trainer.model.parameters()]


def test_equal_seeds_give_equal_weights(train: Any) -> None:
    losses, weights = trained(train, seed=5)
    again, same = trained(train, seed=5)
    other, _ = trained(train, seed=6)
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    assert losses != other


def test_a_few_steps_teach_it_a_simple_text(train: Any) -> None:
    losses, _ = trained(train, seed=0, steps=20)
    assert losses[-1] < 0.6 * losses[0]


def test_accumulated_passes_give_the_gradient_of_the_whole_batch(train: Any) -> None:
    torch.manual_seed(0)
    trainer = train.Trainer(VOCABULARY, CONTEXT)
    x, y = next(made_up(4 * trainer.passes))
    pieces = zip(x.chunk(trainer.passes), y.chunk(trainer.passes), strict=True)
    loss = trainer.add_gradients(pieces)
    accumulated = trainer.model.head.grad.clone()
    trainer.model.zero_grad()
    whole = trainer.model.loss(x, y)
    whole.backward()
    torch.testing.assert_close(loss, whole.detach())
    torch.testing.assert_close(accumulated, trainer.model.head.grad, rtol=1e-4, atol=1e-6)


def test_warming_up_leaves_weights_and_gradients_alone(train: Any) -> None:
    trainer = train.Trainer(VOCABULARY, CONTEXT)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.warm_up()
    parameters = list(trainer.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert all(p.grad is None for p in parameters)


def test_a_batch_that_does_not_come_out_even_is_a_clear_message(train: Any) -> None:
    train.BATCH_TOKENS = 1000
    with pytest.raises(SystemExit, match="BATCH_TOKENS is 1000, which is no multiple of"):
        train.Trainer(VOCABULARY, CONTEXT)


def test_heads_that_do_not_fill_the_width_are_a_clear_message(train: Any) -> None:
    train.WIDTH, train.HEAD_WIDTH = 96, 64
    with pytest.raises(SystemExit, match="WIDTH is 96, which is no multiple of HEAD_WIDTH = 64"):
        train.Trainer(VOCABULARY, CONTEXT)


def test_learning_rates_hold_and_then_fall_to_their_end(train: Any) -> None:
    train.WARMUP, train.WARMDOWN, train.FINAL_LR = 0.1, 0.5, 0.2
    factors = [train.lr_factor(share) for share in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert factors == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.6, 0.2])
