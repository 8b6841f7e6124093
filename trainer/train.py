"""Pretrain a small GPT within a fixed budget: the one file that the organization improves.

What is fixed (text, tokenizer, clock, seed, score) lives in prepare.py. Everything here may change,
as long as the model that is handed over maps token ids (B, T) to logits (B, T, vocabulary) and
looks at no token to the right. It runs by itself: `python -m trainer.train`.
"""

from __future__ import annotations

import gc
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import prepare

# "cpu" or "cuda"; a constant below that differs between them holds a value for each.
DEVICE = prepare.setting().device if __name__ == "__main__" else "cpu"

# === Constants: model ========================================================================

DEPTH = {"cpu": 2, "cuda": 9}[DEVICE]  # layers
WIDTH = {"cpu": 64, "cuda": 512}[DEVICE]  # channels of the residual stream
HEAD_WIDTH = {"cpu": 64, "cuda": 128}[DEVICE]  # channels of one attention head
MLP_RATIO = 4  # hidden channels of the MLP per channel of the residual stream
WINDOW_PATTERN = {"cpu": "L", "cuda": "SSSL"}[DEVICE]  # S short, L long; repeated, last layer is L
SHORT_WINDOW = {"cpu": 64, "cuda": 256}[DEVICE]  # tokens that a short window sees, itself included
ROPE_BASE = {"cpu": 10_000, "cuda": 200_000}[DEVICE]  # longest rotary period, in 2 pi tokens
QK_SCALE = 1.2  # factor on normalized queries and on keys: above 1 sharpens attention
VALUE_EMBEDDING_EVERY = 2  # layers per value embedding, counted back from the last layer
GATE_CHANNELS = 32  # channels that a gate reads, of the smear or of a value embedding
GATE_RANGE = 2.0  # the gate of a value embedding lies between 0 and this, at first in the middle
SOFTCAP = 15.0  # logits are squeezed smoothly into plus or minus this

# === Constants: initial values, as standard deviations or as they are ========================

EMBEDDING_STD = 1.0  # of token embeddings
HEAD_STD = 0.001  # of the output head
MATRIX_SCALE = {"cpu": 1.0, "cuda": 0.68}[DEVICE]  # of matrices, times 1 / sqrt(inputs)
UP_SCALE = 0.5  # the same for the first matrix of an MLP; output projections start at zero
X0_LAMBDA = {"cpu": 0.1, "cuda": 0.05}[DEVICE]  # share of the embedding added before every layer
RESIDUAL_LAMBDA = 1.0  # factor on the residual stream before every layer

# === Constants: optimizer ====================================================================

BATCH_TOKENS = {"cpu": 2048, "cuda": 262_144}[DEVICE]  # tokens per optimizer step
ROWS = {"cpu": 8, "cuda": 64}[DEVICE]  # sequences per forward pass; several make up one batch
MATRIX_LR = {"cpu": 0.06, "cuda": 0.04}[DEVICE]  # Muon, on matrices
EMBEDDING_LR = {"cpu": 0.6, "cuda": 0.9}[DEVICE]  # AdamW, on token and value embeddings
HEAD_LR = {"cpu": 0.004, "cuda": 0.005}[DEVICE]  # AdamW, on the output head
SCALAR_LR = 0.5  # AdamW, on x0 lambdas; a hundredth of it on residual lambdas
SMEAR_LR = 0.05  # AdamW, on the scale of the smear
GATE_LR = 0.02  # AdamW, on the gates of smear and value embeddings
REFERENCE_WIDTH = 768  # learning rates of embeddings and head hold at this width, scale with -1/2
ADAM_BETA1 = 0.8  # decay of the first moment
ADAM_BETA2 = 0.95  # decay of the second moment
X0_BETA1 = 0.96  # decay of the first moment of x0 lambdas
ADAM_EPS = 1e-10  # added to the root of the second moment
MUON_MOMENTUM = 0.95  # decay of Muon's moving average of gradients
MUON_START_MOMENTUM = 0.85  # the same at the start of training
MUON_BETA2 = 0.95  # decay of Muon's second moment per row
MUON_ITERATIONS = 5  # steps of polar express, at most 5
MATRIX_DECAY = 0.2  # cautious weight decay of matrices at the start
HEAD_DECAY = 0.01  # weight decay of the output head
EMBEDDING_DECAY = 0.001  # weight decay of token embeddings
VALUE_DECAY = 0.003  # weight decay of value embeddings

# === Constants: schedules, in shares of the budget ===========================================

WARMUP = 0.0  # share over which learning rates rise from 0
WARMDOWN = {"cpu": 0.5, "cuda": 0.75}[DEVICE]  # share at the end over which they fall
FINAL_LR = {"cpu": 0.0, "cuda": 0.05}[DEVICE]  # where they end, as a fraction of their peak
MOMENTUM_WARMUP = {"cpu": 0.2, "cuda": 0.1}[DEVICE]  # share over which Muon's momentum rises

# === Hardware: everything that depends on the machine, in one place ==========================

FlashAttention = Callable[..., Any]


def compute_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it faster than float32, else float32."""
    if DEVICE == "cuda":
        return torch.bfloat16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def load_flash_attention() -> FlashAttention | None:
    """FlashAttention 3, if this is a Hopper GPU and the `kernels` package can provide it."""
    if DEVICE != "cuda" or torch.cuda.get_device_capability() != (9, 0):
        return None
    try:
        kernels = importlib.import_module("kernels")
        build = kernels.get_kernel("varunneal/flash-attention-3")
        flash: FlashAttention = build.flash_attn_interface.flash_attn_func
        return flash
    except (ImportError, OSError, ValueError) as error:  # not installed, offline, no build
        print(f"FlashAttention 3 is not available: {error}")
        return None


def tune_process() -> None:
    """Settings of the process that cost nothing and save time."""
    torch.set_float32_matmul_precision("high")
    torch.set_flush_denormal(True)
    gc.disable()  # a collection in the middle of training stalls it


DTYPE = compute_dtype()  # of activations; weights are float32 and cast where they are used
FLASH_ATTENTION = load_flash_attention()
COMPILE = {"cpu": False, "cuda": True}[DEVICE]  # half a minute: too dear for 20 seconds

# === Attention ===============================================================================

PLAIN_LIMIT = 512  # tokens up to which scores are held whole on a CPU that multiplies bfloat16


def plain_is_faster(length: int, device: str, dtype: torch.dtype) -> bool:
    """Whether two bfloat16 products beat torch's fused kernel: measured on a CPU."""
    return device == "cpu" and dtype == torch.bfloat16 and length <= PLAIN_LIMIT


def attention_name(length: int) -> str:
    """What `attention` uses for a full window of this length."""
    if FLASH_ATTENTION is not None:
        return "flash attention 3"
    return "plain products" if plain_is_faster(length, DEVICE, DTYPE) else "torch sdpa"


def attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention; q, k, v and the result are (B, T, heads, head width).

    A token sees itself and the `window - 1` tokens before it.
    """
    T = q.size(1)
    if FLASH_ATTENTION is not None:
        left = window - 1 if window < T else -1
        flash = FLASH_ATTENTION(q, k, v, causal=True, window_size=(left, 0))
        result: Tensor = flash[0] if isinstance(flash, tuple) else flash
        return result
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if 2 * window <= T:
        y = banded_attention(q, k, v, window)
    elif plain_is_faster(T, q.device.type, q.dtype):
        y = plain_attention(q, k, v, window)
    elif window < T:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible(T, window, q.device))
    else:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2)


def visible(length: int, window: int, device: torch.device) -> Tensor:
    """Mask (length, length): which keys a query sees."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention as two batched products; (B, heads, T, head width) in and out."""
    B, H, T, D = q.shape
    mask = torch.zeros(T, T, dtype=q.dtype).masked_fill_(~visible(T, window, q.device), -torch.inf)
    q, k, v = (x.reshape(B * H, T, D) for x in (q, k, v))
    scores = torch.baddbmm(mask, q, k.mT, alpha=D**-0.5)
    return (scores.softmax(-1) @ v).view(B, H, T, D)


def banded_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention in blocks of `window` queries, each with its own and the block before as keys.

    (B, heads, T, head width) in and out; costs 2 T window instead of T squared.
    """
    B, H, T, D = q.shape
    blocks = -(-T // window)
    missing = blocks * window - T
    q = F.pad(q, (0, 0, 0, missing)).reshape(B * H, blocks, window, D)
    k, v = (F.pad(x, (0, 0, window, missing)).reshape(B * H, blocks + 1, window, D) for x in (k, v))
    k, v = (torch.cat((x[:, :-1], x[:, 1:]), 2) for x in (k, v))
    # Query i of a block stands at i + window among its keys; the first block has none before it.
    mask = torch.ones(blocks, window, 2 * window, dtype=torch.bool, device=q.device)
    mask = mask.tril(window).triu(1)
    mask[0, :, :window] = False
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None])
    return y.reshape(B, H, blocks * window, D)[:, :, :T]


# === Model ===================================================================================

MATRICES = ("qkv", "out", "up", "down")  # the parameters of a layer that multiply


def norm(x: Tensor) -> Tensor:
    """RMSNorm over channels, without weights."""
    return F.rms_norm(x, (x.size(-1),))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (…, inputs) times a float32 weight (outputs, inputs), in the precision of x."""
    return F.linear(x, weight.to(x.dtype))


def uniform(*shape: int, scale: float) -> nn.Parameter:
    """A matrix with standard deviation scale / sqrt(inputs) and no outliers."""
    bound = scale * math.sqrt(3 / shape[-1])
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def window_of(layer: int, sequence_length: int) -> int:
    """Tokens that a layer sees. The last layer always sees all."""
    short = WINDOW_PATTERN[layer % len(WINDOW_PATTERN)] == "S" and layer < DEPTH - 1
    return min(SHORT_WINDOW, sequence_length) if short else sequence_length


def rotary(length: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine, both times QK_SCALE; (length, 1, 1, width).

    They rotate channel i with channel i + width / 2.
    """
    frequency = ROPE_BASE ** (-torch.arange(0, width, 2) / width)
    angle = torch.outer(torch.arange(length), frequency)
    cos, sin = angle.cos(), angle.sin()
    cos, sin = torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)
    return cos[:, None, None] * QK_SCALE, sin[:, None, None] * QK_SCALE


class Block(nn.Module):
    """One layer: attention, then a squared ReLU MLP, each on a normalized residual stream."""

    def __init__(self, layer: int, window: int, vocabulary: int) -> None:
        super().__init__()
        self.heads = WIDTH // HEAD_WIDTH
        self.window = window
        self.has_value = (DEPTH - 1 - layer) % VALUE_EMBEDDING_EVERY == 0
        self.qkv = uniform(3, WIDTH, WIDTH, scale=MATRIX_SCALE)
        self.out = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.up = uniform(MLP_RATIO * WIDTH, WIDTH, scale=UP_SCALE)
        self.down = nn.Parameter(torch.zeros(WIDTH, MLP_RATIO * WIDTH))
        if self.has_value:
            self.value = uniform(vocabulary, WIDTH, scale=MATRIX_SCALE)
            self.gate = nn.Parameter(torch.zeros(self.heads, GATE_CHANNELS))

    def attend(self, x: Tensor, ids: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (B, T, width); ids (B, T) for the value embeddings."""
        B, T, _ = x.shape
        qkv = linear(x, self.qkv.flatten(0, 1)).view(B, T, 3, self.heads, HEAD_WIDTH)
        qk, v = norm(qkv[:, :, :2]), qkv[:, :, 2]
        half = HEAD_WIDTH // 2
        swapped = torch.cat((qk[..., half:], qk[..., :half]), -1)
        q, k = torch.addcmul(qk * cos, swapped, sin).unbind(2)
        if self.has_value:
            gate = GATE_RANGE * torch.sigmoid(linear(x[..., :GATE_CHANNELS], self.gate))
            value = F.embedding(ids, self.value).to(x.dtype)
            v = v + gate[..., None] * value.view(B, T, self.heads, HEAD_WIDTH)
        y = attention(q, k, v, self.window)
        return linear(y.reshape(B, T, WIDTH), self.out)

    def forward(self, x: Tensor, ids: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attend(norm(x), ids, cos, sin)
        hidden = F.relu(linear(norm(x), self.up)).square()
        return x + linear(hidden, self.down)


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, vocabulary)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int, sequence_length: int) -> None:
        super().__init__()
        V = vocabulary
        self.windows = [window_of(layer, sequence_length) for layer in range(DEPTH)]
        self.embedding = nn.Parameter(torch.randn(V, WIDTH) * EMBEDDING_STD)
        self.head = nn.Parameter(torch.randn(V, WIDTH) * HEAD_STD)
        self.blocks = nn.ModuleList(
            Block(layer, window, V) for layer, window in enumerate(self.windows)
        )
        self.smear_gate = nn.Parameter(torch.zeros(1, GATE_CHANNELS))
        self.smear_scale = nn.Parameter(torch.zeros(()))
        self.residual_lambdas = nn.Parameter(torch.full((DEPTH,), RESIDUAL_LAMBDA))
        self.x0_lambdas = nn.Parameter(torch.full((DEPTH,), X0_LAMBDA))
        cos, sin = rotary(sequence_length, HEAD_WIDTH)
        self.register_buffer("cos", cos.to(DTYPE), persistent=False)
        self.register_buffer("sin", sin.to(DTYPE), persistent=False)

    def smear(self, x: Tensor) -> Tensor:
        """Add to each token's embedding a gated share of the one before; x is (B, T, width)."""
        gate = torch.sigmoid(linear(x[:, 1:, :GATE_CHANNELS], self.smear_gate))
        return torch.cat((x[:, :1], x[:, 1:] + self.smear_scale * gate * x[:, :-1]), 1)

    def trunk(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to what the head reads (B, T, width)."""
        T = ids.size(1)
        cos, sin = self.cos[:T], self.sin[:T]
        x = x0 = norm(F.embedding(ids, self.embedding).to(DTYPE))
        x = x0 = self.smear(x)
        residual, initial = self.residual_lambdas.to(DTYPE), self.x0_lambdas.to(DTYPE)
        for layer, block in enumerate(self.blocks):
            x = residual[layer] * x + initial[layer] * x0
            x = block(x, ids, cos, sin)
        return norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return softcap(linear(self.trunk(ids), self.head).float())

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets are (B, T)."""
        x, targets = self.trunk(ids).flatten(0, 1), targets.flatten()
        if x.device.type == "cpu":
            head = (self.head * (2 / SOFTCAP)).to(x.dtype)
            loss: Tensor = ChunkedLoss.apply(x, head, targets)  # type: ignore[no-untyped-call]
            return loss
        return F.cross_entropy(softcap(linear(x, self.head).float()), targets)

    def named(self, *names: str) -> list[nn.Parameter]:
        """Parameters of all layers that go by one of these names there."""
        return [p for name, p in self.blocks.named_parameters() if name.split(".")[-1] in names]

    def flops_per_token(self) -> float:
        """Forward and backward: 6 per weight that multiplies, 12 per channel attended to."""
        weights = self.head.numel() + sum(p.numel() for p in self.named(*MATRICES))
        return 6 * weights + 12 * WIDTH * sum(self.windows)


# === Loss ====================================================================================

LOSS_CHUNK = 256  # tokens whose logits are alive at once: they should fit the processor's cache


def softcap(logits: Tensor) -> Tensor:
    """SOFTCAP * tanh(logits / SOFTCAP), by way of sigmoid, which a CPU does six times faster."""
    return (2 * SOFTCAP) * torch.sigmoid(logits * (2 / SOFTCAP)) - SOFTCAP


class ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy of soft-capped logits that never holds all logits.

    The gradient is made along with the loss, chunk by chunk, as in Liger kernels (Hsu et al. 2024).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        """x (N, width), head (vocabulary, width) times 2 / SOFTCAP, targets (N,)."""
        grad_x = torch.empty_like(x)
        grad_head = torch.zeros(head.shape)
        loss = torch.zeros(())
        for start in range(0, len(x), LOSS_CHUNK):
            rows = slice(start, start + LOSS_CHUNK)
            index = targets[rows, None]
            squashed = (x[rows] @ head.T).float().sigmoid_()
            # Capped logits lie within plus or minus SOFTCAP, so that no maximum has to be taken out
            # before the exponential; a power of 2 is the one that torch computes fast.
            odds = (squashed * (2 * SOFTCAP / math.log(2))).exp2_()
            total = odds.sum(1, keepdim=True)
            loss += (total.log() - squashed.gather(1, index) * (2 * SOFTCAP)).sum()
            # Softmax less one at the target, both times total, times the slope of the sigmoid.
            grad = odds.scatter_add_(1, index, -total)
            grad = grad.mul_(squashed.addcmul_(squashed, squashed, value=-1)).to(x.dtype)
            scale = (2 * SOFTCAP / len(x) / total).to(x.dtype)
            grad_x[rows] = (grad @ head) * scale
            grad_head += grad.T @ (x[rows] * scale)
        ctx.save_for_backward(grad_x, grad_head.to(head.dtype))
        return loss / len(x)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, grad_head = ctx.saved_tensors
        return grad_x * scale, grad_head * scale, None


# === Optimizer ===============================================================================

# Quintic polynomials of polar express for 5 steps (Amsel et al. 2025, arXiv 2505.16932).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(x: Tensor) -> Tensor:
    """The nearest matrices (N, m, n) with all singular values near 1, by polar express."""
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)).to(DTYPE)
    for a, b, c in POLAR_EXPRESS[:MUON_ITERATIONS]:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def even_out(update: Tensor, variance: Tensor) -> Tensor:
    """Scale the rows (columns, if wide) of update by their running size, keeping its whole norm.

    NorMuon (Li et al. 2025, arXiv 2510.05491). `variance`, updated in place, is (N, m, 1) or
    (N, 1, n): the running mean square along the other axis.
    """
    size = update.square().mean(-1 if variance.size(-1) == 1 else -2, keepdim=True)
    variance.lerp_(size, 1 - MUON_BETA2)
    scale = variance.clamp_min(1e-10).rsqrt()
    before = size.sum((-2, -1), keepdim=True)
    after = (size * scale.square()).sum((-2, -1), keepdim=True)
    return update * scale * (before / after.clamp_min(1e-10)).sqrt()


class Muon:
    """Momentum, orthogonalized; matrices of one shape are updated together as one batch.

    Muon (Jordan 2024) with polar express, evened-out rows and cautious weight decay. A parameter
    (…, m, n) counts as several matrices.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.groups: list[tuple[list[nn.Parameter], Tensor, Tensor]] = []
        for m, n in sorted({(p.size(-2), p.size(-1)) for p in parameters}):
            group = [p for p in parameters if p.shape[-2:] == (m, n)]
            count = sum(p.numel() for p in group) // (m * n)
            velocity = torch.zeros(count, m, n, device=group[0].device)
            variance = torch.zeros_like(velocity[:, :, :1] if m >= n else velocity[:, :1])
            self.groups.append((group, velocity, variance))

    @torch.no_grad()
    def step(self, lr: float, momentum: float, decay: float) -> None:
        """Update every parameter from its gradient."""
        for group, velocity, variance in self.groups:
            m, n = velocity.shape[1:]
            grad = torch.cat([p.grad.reshape(-1, m, n) for p in group if p.grad is not None])
            velocity.lerp_(grad, 1 - momentum)
            update = even_out(orthogonalize(grad.lerp_(velocity, momentum)), variance)
            rate = lr * max(1.0, m / n) ** 0.5
            parts = torch.split(update, [p.numel() // (m * n) for p in group])
            for p, part in zip(group, parts, strict=True):
                change = part.view_as(p)
                # Cautious: decay only where the update already points towards zero.
                change = torch.addcmul(change, p, change * p > 0, value=decay)
                p.sub_(change, alpha=rate)


class AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) by torch's fused kernel.

    `torch.optim` would import the compiler with it, which costs a CPU trial a second.
    """

    def __init__(self) -> None:
        self.groups: list[dict[str, Any]] = []

    def add(
        self,
        parameters: list[nn.Parameter],
        lr: float,
        decay: float = 0.0,
        beta1: float = ADAM_BETA1,
    ) -> None:
        """Update these too, at a peak rate of their own; none is no group."""
        if parameters:
            moments = [[torch.zeros_like(p) for p in parameters] for _ in range(2)]
            steps = [torch.zeros((), device=p.device) for p in parameters]
            terms = {"lr": lr, "weight_decay": decay, "beta1": beta1}
            self.groups.append({"parameters": parameters, "state": (*moments, [], steps), **terms})

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Update every parameter from its gradient, at this fraction of its peak rate."""
        for group in self.groups:
            torch._foreach_add_(group["state"][3], 1)
            torch._fused_adamw_(
                group["parameters"],
                [p.grad for p in group["parameters"]],
                *group["state"],
                lr=group["lr"] * factor,
                beta1=group["beta1"],
                beta2=ADAM_BETA2,
                weight_decay=group["weight_decay"],
                eps=ADAM_EPS,
                amsgrad=False,
                maximize=False,
            )


def adamw(model: GPT) -> AdamW:
    """AdamW for everything that is not a matrix of a layer."""
    scale = (WIDTH / REFERENCE_WIDTH) ** -0.5
    optimizer = AdamW()
    optimizer.add([model.embedding], EMBEDDING_LR * scale, EMBEDDING_DECAY)
    optimizer.add(model.named("value"), EMBEDDING_LR * scale, VALUE_DECAY)
    optimizer.add([model.head], HEAD_LR * scale, HEAD_DECAY)
    optimizer.add([model.residual_lambdas], SCALAR_LR / 100)
    optimizer.add([model.x0_lambdas], SCALAR_LR, beta1=X0_BETA1)
    optimizer.add([model.smear_scale], SMEAR_LR)
    optimizer.add([model.smear_gate, *model.named("gate")], GATE_LR)
    return optimizer


def muon(model: GPT) -> Muon:
    """Muon for the matrices of the layers."""
    return Muon(model.named(*MATRICES))


# === Schedules: functions of the share of the budget that is spent ===========================


def lr_factor(progress: float) -> float:
    """Rise, hold, fall; as a fraction of the peak."""
    if progress < WARMUP:
        return progress / WARMUP
    left = min(1.0, (1 - progress) / WARMDOWN) if WARMDOWN > 0 else 1.0
    return FINAL_LR + (1 - FINAL_LR) * max(0.0, left)


def momentum_at(progress: float) -> float:
    """Muon's momentum, rising from its start."""
    share = min(1.0, progress / MOMENTUM_WARMUP) if MOMENTUM_WARMUP > 0 else 1.0
    return MUON_START_MOMENTUM + share * (MUON_MOMENTUM - MUON_START_MOMENTUM)


# === Training ================================================================================

Batches = Iterator[tuple[Tensor, Tensor]]


class Trainer:
    """A model, its loss (compiled where that pays) and its two optimizers."""

    def __init__(self, vocabulary: int, sequence_length: int) -> None:
        self.row = sequence_length
        self.passes = passes_per_step(sequence_length)
        self.model = GPT(vocabulary, sequence_length).to(DEVICE)
        self.loss = torch.compile(self.model.loss, dynamic=False) if COMPILE else self.model.loss
        self.adamw = adamw(self.model)
        self.muon = muon(self.model)

    def step(self, batches: Batches, progress: float) -> float:
        """One optimizer step; the mean loss before it in nats per token."""
        loss = self.add_gradients(batches)
        factor = lr_factor(progress)
        self.adamw.step(factor)
        self.muon.step(MATRIX_LR * factor, momentum_at(progress), MATRIX_DECAY * (1 - progress))
        self.model.zero_grad()
        return loss.item()

    def add_gradients(self, batches: Batches) -> Tensor:
        """Gradients of one batch, added to those that are there; the batch's mean loss."""
        total = torch.zeros((), device=DEVICE)
        for _ in range(self.passes):
            ids, targets = next(batches)
            loss = self.loss(ids, targets) / self.passes
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def warm_up(self) -> None:
        """Compile and allocate on made-up tokens, before the clock runs; changes no weight."""
        ids = torch.zeros(ROWS, self.row, dtype=torch.int64, device=DEVICE)
        for _ in range(2):
            # Two tensors, as in training: one twice would be compiled as something else.
            self.add_gradients(iter([(ids, ids.clone())] * self.passes))
        self.model.zero_grad()


def passes_per_step(sequence_length: int) -> int:
    """How many forward passes make up a batch. Exits if batch or heads do not come out even."""
    if WIDTH % HEAD_WIDTH:
        sys.exit(f"WIDTH is {WIDTH}, which is no multiple of HEAD_WIDTH = {HEAD_WIDTH}")
    tokens = ROWS * sequence_length
    if BATCH_TOKENS % tokens:
        sys.exit(
            f"BATCH_TOKENS is {BATCH_TOKENS}, which is no multiple of the {tokens} tokens of one "
            f"forward pass (ROWS = {ROWS}, context {sequence_length})"
        )
    return BATCH_TOKENS // tokens


def main() -> None:
    """Train until the budget is spent, hand the model over, print the summary."""
    setting = prepare.setting()
    torch.manual_seed(setting.seed)
    tune_process()
    trainer = Trainer(setting.vocabulary, setting.sequence_length)
    with prepare.warming_up():
        trainer.warm_up()
    parameters = sum(p.numel() for p in trainer.model.parameters())
    flops = trainer.model.flops_per_token()
    batches = prepare.start(ROWS)
    step = 0
    while (progress := prepare.progress()) < 1:
        loss = trainer.step(batches, progress)
        step += 1
        tokens = step * BATCH_TOKENS
        prepare.report(step, loss, tokens=tokens, parameters=parameters, flops_per_token=flops)
    summary = prepare.evaluate(trainer.model)
    print(summary.block(depth=DEPTH))
    print(f"attention:        {attention_name(setting.sequence_length)}, {DTYPE}")


if __name__ == "__main__":
    main()
