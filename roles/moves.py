"""The moves an experienced practitioner would try on a small GPT's train.py, as a table.

What does not apply to a source is skipped, and a number that is not in the table gets a generic
move. Gains are hoped-for falls of val_bpb in bits per byte on the CPU profile, for the larger ones
from single trials of 20 s there: they order the first tries, after that the notebook decides.
"""

from __future__ import annotations

import math
import re

from roles.constants import Constant
from roles.knobs import Among, Knob, NearOne, Plus, Rewrite, Step, Times, Turn
from roles.records import Category

# fmt: off
KNOBS: tuple[Knob, ...] = (
    # The batch first: at a fixed time it sets how many steps there are.
    Knob("BATCH_TOKENS", "batch", Times(2, whole=True), companions=("ROWS",),
         up=Turn(0.002, "A larger batch has less noise in its gradient and uses the hardware better, at the price of fewer steps."),
         down=Turn(0.003, "At a fixed time a smaller batch buys more steps, and this early in training steps are scarcer than clean gradients.")),
    Knob("ROWS", "efficiency", Times(2, whole=True, low=1),
         down=Turn(0.001, "Smaller forward passes keep activations in the cache; the batch stays the same, so any gain is speed.")),
    Knob("LOSS_CHUNK", "efficiency", Times(2, whole=True, low=16),
         up=Turn(0.0005, "Fewer and larger chunks of logits mean fewer small kernels, as long as a chunk fits the cache."),
         down=Turn(0.0005, "Smaller chunks of logits stay nearer to the processor, which saves memory traffic.")),
    # The learning rates.
    Knob("MATRIX_LR", "optimizer", Times(1.5),
         up=Turn(0.002, "A short budget ends long before the matrices have converged, so larger steps buy more descent per second."),
         down=Turn(0.002, "Muon's steps have a fixed size; smaller ones let a small batch average out its noise.")),
    Knob("EMBEDDING_LR", "optimizer", Times(1.5),
         up=Turn(0.004, "Most rows of an embedding are seen seldom and must move far when they are seen."),
         down=Turn(0.008, "Rows of frequent tokens are updated at every step and jitter under a large learning rate.")),
    Knob("HEAD_LR", "optimizer", Times(2),
         up=Turn(0.001, "The head starts near zero, and until it has grown the layers below receive hardly any gradient."),
         down=Turn(0.001, "The head sees every token at every step; a calmer one is a steadier target for the layers below.")),
    Knob("SCALAR_LR", "optimizer", Times(2),
         up=Turn(0.001, "The few scalars that mix the residual stream have little time to find their values."),
         down=Turn(0.001, "One scalar scales a whole layer; when it jumps, everything above has to follow.")),
    Knob("GATE_LR", "optimizer", Times(2),
         up=Turn(0.001, "Gates start half open and all alike; they only become selective once they have moved."),
         down=Turn(0.0005, "A gate that saturates early lets no more gradient through.")),
    # Moments and momentum.
    Knob("ADAM_BETA1", "optimizer", NearOne(2),
         up=Turn(0.001, "A longer memory of the gradient averages out the noise of a small batch."),
         down=Turn(0.001, "Early gradients are soon out of date; a shorter memory follows the descent more closely.")),
    Knob("ADAM_BETA2", "optimizer", NearOne(2.5),
         up=Turn(0.002, "Rare tokens need a long memory of their gradient's size, or their rare steps come out too large."),
         down=Turn(0.001, "With few steps a long second moment still remembers the start; a shorter one adapts.")),
    Knob("X0_BETA1", "optimizer", NearOne(2),
         up=Turn(0.0005, "A scalar's gradient is a sum over a whole batch and all channels; a long memory keeps it from swinging."),
         down=Turn(0.0005, "Few steps leave no time for the inertia of a long first moment.")),
    Knob("MUON_MOMENTUM", "optimizer", NearOne(2),
         up=Turn(0.001, "More momentum averages over more batches before the update is orthogonalized."),
         down=Turn(0.006, "In a few hundred steps momentum 0.95 lags behind by a good part of the run.")),
    Knob("MUON_START_MOMENTUM", "optimizer", NearOne(2),
         up=Turn(0.0005, "Starting at the final momentum averages more from the start."),
         down=Turn(0.0005, "The first gradients all say the same and soon mean nothing; little momentum forgets them.")),
    Knob("MUON_BETA2", "optimizer", NearOne(2.5),
         up=Turn(0.0005, "A steadier estimate of each row's size makes evened-out updates less noisy."),
         down=Turn(0.0005, "The size of rows changes quickly at the start, and a shorter memory follows it.")),
    Knob("MUON_ITERATIONS", "efficiency", Plus(1, low=1, high=5),
         up=Turn(0.0005, "More iterations bring the singular values of an update nearer to one."),
         down=Turn(0.003, "Muon needs no exact orthogonality; an iteration less is a faster step, and time is the budget.")),
    # Schedules.
    Knob("WARMUP", "schedule", Plus(0.04, high=0.5),
         up=Turn(0.001, "The first steps go wherever the untrained head sends them; a short rise keeps them small."),
         down=Turn(0.001, "Every share of the budget spent at a low learning rate is descent given away.")),
    Knob("WARMDOWN", "schedule", Plus(0.2, low=0.05, high=1),
         up=Turn(0.001, "Most of the loss falls while the learning rate falls; a longer descent harvests more of it."),
         down=Turn(0.004, "A longer stretch at the full learning rate gets further before the noise is averaged out.")),
    Knob("FINAL_LR", "schedule", Plus(0.05, high=0.5),
         up=Turn(0.002, "The last steps at learning rate zero teach nothing; a small rest keeps them useful."),
         down=Turn(0.001, "What is left of the learning rate at the end is noise left in the weights.")),
    Knob("MOMENTUM_WARMUP", "schedule", Times(2, high=1),
         up=Turn(0.001, "A slower rise of the momentum suits gradients that keep turning for longer."),
         down=Turn(0.001, "The full momentum sooner means cleaner updates for more of a short run.")),
    # The shape of the model.
    Knob("DEPTH", "architecture", Plus(1, low=1),
         up=Turn(0.002, "One more layer composes more per token; it pays if quality per step gains more than the steps that it costs."),
         down=Turn(0.01, "At a small budget a shallower model takes more steps, and steps may be what is missing.")),
    Knob("WIDTH", "architecture", Times(1.5, low=32), multiple_of="HEAD_WIDTH",
         up=Turn(0.003, "A wider stream holds more per token, and wide products use the hardware better than many narrow ones."),
         down=Turn(0.002, "A narrower model is cheaper by the square of its width and sees more text in the same time.")),
    Knob("MLP_RATIO", "architecture", Plus(1, low=1),
         up=Turn(0.002, "Squared ReLU leaves most hidden channels at zero; more of them store more patterns at little cost in depth."),
         down=Turn(0.002, "The MLP is most of a layer's arithmetic; a slimmer one buys steps.")),
    Knob("VALUE_EMBEDDING_EVERY", "architecture", Plus(1, low=1),
         up=Turn(0.001, "Fewer value embeddings leave less for AdamW to update at every step."),
         down=Turn(0.001, "A value embedding is a lookup: capacity for each token at almost no arithmetic, so every layer may have one.")),
    Knob("GATE_CHANNELS", "architecture", Times(2, whole=True, low=4),
         up=Turn(0.0005, "A gate that reads more channels can tell more contexts apart."),
         down=Turn(0.0005, "A gate needs to know little; fewer inputs make it learn faster.")),
    Knob("GATE_RANGE", "architecture", Times(1.5),
         up=Turn(0.001, "A wider range lets the token's own value dominate where context tells nothing."),
         down=Turn(0.0005, "A smaller share of the value embedding leaves more to attention.")),
    # Attention.
    Knob("HEAD_WIDTH", "attention", Times(2, whole=True, low=16), divides="WIDTH",
         up=Turn(0.001, "Wider heads tell more keys apart and run as fewer, larger products."),
         down=Turn(0.003, "More and narrower heads look at more places at once; a small model has too few of them.")),
    Knob("WINDOW_PATTERN", "attention", Among(("S", "SSSL", "SSL", "SL", "L")),
         up=Turn(0.002, "More layers that see the whole context carry information over longer distances."),
         down=Turn(0.003, "Most of what predicts a token stands near it; short windows are cheaper and leave the distance to a few layers.")),
    Knob("SHORT_WINDOW", "attention", Times(2, whole=True, low=8), needs=("WINDOW_PATTERN", "S"),
         up=Turn(0.001, "A longer window lets the cheap layers see whole sentences."),
         down=Turn(0.002, "Half the window is half the cost of the short layers, and steps are what the budget lacks.")),
    Knob("ROPE_BASE", "attention", Times(10, low=100),
         up=Turn(0.001, "Slower rotations leave some channels nearly free of position, to match content at any distance."),
         down=Turn(0.002, "In a short context most wavelengths of a large base never turn; a smaller base makes them tell positions apart.")),
    Knob("QK_SCALE", "attention", Times(1.2),
         up=Turn(0.005, "Sharper attention can pick a single token, which normalized queries and keys cannot do well."),
         down=Turn(0.001, "Softer attention passes gradients to more keys while the queries are still untrained.")),
    Knob("SOFTCAP", "regularisation", Times(1.4, low=5, high=30),
         up=Turn(0.001, "A higher cap lets frequent continuations be predicted with more confidence."),
         down=Turn(0.001, "A lower cap keeps a young model from costly overconfidence.")),
    # Initial values.
    Knob("EMBEDDING_STD", "initialisation", Times(2),
         up=Turn(0.0005, "A larger start makes the first updates relatively smaller, so tokens keep apart."),
         down=Turn(0.002, "AdamW's steps have a fixed size; from a smaller start they turn an embedding sooner.")),
    Knob("HEAD_STD", "initialisation", Times(10),
         up=Turn(0.0005, "A head that starts near zero passes hardly any gradient down; a larger one wakes the layers sooner."),
         down=Turn(0.002, "A head at zero starts from the uniform guess without any noise.")),
    Knob("MATRIX_SCALE", "initialisation", Times(1.5),
         up=Turn(0.003, "Larger first matrices pass more of the signal before training has shaped them."),
         down=Turn(0.001, "Muon's steps have a fixed size; smaller first matrices are sooner overwritten by what is learned.")),
    Knob("UP_SCALE", "initialisation", Times(1.5),
         up=Turn(0.001, "Larger hidden activations give the zero matrix after them a larger first gradient."),
         down=Turn(0.002, "A smaller start of the MLP is sooner overwritten by what is learned.")),
    Knob("X0_LAMBDA", "initialisation", Times(2),
         up=Turn(0.001, "More of the token itself in every layer helps while the layers know nothing yet."),
         down=Turn(0.001, "Less of the token at the start leaves the stream to what the layers add.")),
    Knob("RESIDUAL_LAMBDA", "initialisation", Times(1.1),
         up=Turn(0.0005, "A stream that grows a little with depth gives early layers more weight at the end."),
         down=Turn(0.0005, "A stream that fades a little with depth gives late layers more say.")),
    # Decay.
    Knob("MATRIX_DECAY", "regularisation", Times(2),
         up=Turn(0.001, "Stronger decay keeps matrices small, so that steps of fixed size turn them further."),
         down=Turn(0.001, "A run this short does not overfit; decay only undoes descent.")),
    Knob("HEAD_DECAY", "regularisation", Times(3),
         up=Turn(0.0005, "Decay calms the rows of tokens that are hardly ever the answer."),
         down=Turn(0.0005, "The head of a short run is too small rather than too large.")),
    Knob("EMBEDDING_DECAY", "regularisation", Times(3),
         up=Turn(0.0005, "Decay takes back what a rare token learned from one odd context."),
         down=Turn(0.0005, "Rare rows are decayed at every step but updated seldom.")),
    Knob("VALUE_DECAY", "regularisation", Times(3),
         up=Turn(0.001, "Value embeddings are the largest table and the first to memorise."),
         down=Turn(0.0005, "Within one pass over the text there is nothing to overfit to.")),
)

REWRITES: tuple[Rewrite, ...] = (
    # The MLP.
    Rewrite(
        "SwiGLU instead of squared ReLU, at equal size", "architecture", 0.002,
        "A gated MLP multiplies two views of its input, which a single activation cannot; two thirds of the hidden channels keep the arithmetic equal.",
        edits=(
            ("        self.up = uniform(MLP_RATIO * WIDTH, WIDTH, scale=UP_SCALE)\n"
             "        self.down = nn.Parameter(torch.zeros(WIDTH, MLP_RATIO * WIDTH))",
             "        hidden = MLP_RATIO * WIDTH * 2 // 3 // 16 * 16\n"
             "        self.up = uniform(2 * hidden, WIDTH, scale=UP_SCALE)\n"
             "        self.down = nn.Parameter(torch.zeros(WIDTH, hidden))"),
            ("        hidden = F.relu(linear(norm(x), self.up)).square()",
             "        gate, hidden = linear(norm(x), self.up).chunk(2, -1)\n"
             "        hidden = F.silu(gate) * hidden"),
        ),
    ),
    Rewrite(
        "GELU instead of squared ReLU", "architecture", 0.0005,
        "GELU passes some gradient below zero, so fewer hidden channels fall silent for good.",
        edits=(
            ("        hidden = F.relu(linear(norm(x), self.up)).square()",
             "        hidden = F.gelu(linear(norm(x), self.up))"),
        ),
    ),
    Rewrite(
        "Attention and MLP side by side in each layer", "efficiency", 0.004,
        "Both read the same normalized stream (as in GPT-J and PaLM): one norm less per layer and no waiting of one for the other, for slightly less depth.",
        edits=(
            ("        x = x + self.attend(norm(x), ids, cos, sin)\n"
             "        hidden = F.relu(linear(norm(x), self.up)).square()\n"
             "        return x + linear(hidden, self.down)",
             "        normed = norm(x)\n"
             "        hidden = F.relu(linear(normed, self.up)).square()\n"
             "        return x + self.attend(normed, ids, cos, sin) + linear(hidden, self.down)"),
        ),
    ),
    # What a layer knows of its neighbours.
    Rewrite(
        "A gate on the output of every attention head", "attention", 0.001,
        "A head must attend to something even when nothing fits; a small gate read from the stream lets it say nothing instead.",
        edits=(
            ("        self.out = nn.Parameter(torch.zeros(WIDTH, WIDTH))",
             "        self.out = nn.Parameter(torch.zeros(WIDTH, WIDTH))\n"
             "        self.output_gate = nn.Parameter(torch.zeros(self.heads, GATE_CHANNELS))"),
            ("        y = attention(q, k, v, self.window)",
             "        y = attention(q, k, v, self.window)\n"
             "        open_share = torch.sigmoid(linear(x[..., :GATE_CHANNELS], self.output_gate))\n"
             "        y = y * (2 * open_share[..., None])"),
            ("    optimizer.add([model.smear_gate, *model.named(\"gate\")], GATE_LR)",
             "    optimizer.add([model.smear_gate, *model.named(\"gate\", \"output_gate\")], GATE_LR)"),
        ),
    ),
    Rewrite(
        "An embedding for each pair of neighbouring tokens", "architecture", 0.004,
        "A hashed table of pairs gives the model its bigrams by look-up, at almost no arithmetic, and leaves the layers to learn what is further away.",
        edits=(
            ("        self.embedding = nn.Parameter(torch.randn(V, WIDTH) * EMBEDDING_STD)",
             "        self.embedding = nn.Parameter(torch.randn(V, WIDTH) * EMBEDDING_STD)\n"
             "        self.pairs = nn.Parameter(torch.zeros(8 * V, WIDTH))"),
            ("        x = x0 = norm(F.embedding(ids, self.embedding).to(DTYPE))",
             "        x = x0 = norm(F.embedding(ids, self.embedding).to(DTYPE))\n"
             "        before = F.pad(ids, (1, 0))[:, :-1]\n"
             "        pairs = (ids * 31_337 + before * 7_919) % len(self.pairs)\n"
             "        x = x0 = norm(x + F.embedding(pairs, self.pairs).to(DTYPE))"),
            ("    return optimizer",
             "    optimizer.add([model.pairs], EMBEDDING_LR * scale)\n"
             "    return optimizer"),
        ),
    ),
    Rewrite(
        "The last layer also reads what the first one read", "architecture", 0.001,
        "A skip over the middle of the network brings early features, unmixed, to where the prediction is made, as in a U-net.",
        edits=(
            ("            x = residual[layer] * x + initial[layer] * x0",
             "            x = residual[layer] * x + initial[layer] * x0\n"
             "            if layer == 0:\n"
             "                early = x\n"
             "            if 0 < layer == DEPTH - 1:\n"
             "                x = x + 0.5 * early"),
        ),
    ),
    Rewrite(
        "Rotate only the faster half of the channels", "attention", 0.001,
        "The slow rotations hardly turn within the context; left unrotated, their channels match content whatever the distance.",
        edits=(
            ("    frequency = ROPE_BASE ** (-torch.arange(0, width, 2) / width)",
             "    frequency = ROPE_BASE ** (-torch.arange(0, width, 2) / width)\n"
             "    frequency[len(frequency) // 2 :] = 0"),
        ),
    ),
    # Schedules.
    Rewrite(
        "Cosine instead of linear warm-down", "schedule", 0.001,
        "A cosine leaves the peak gently and ends flat, so the last steps average noise instead of stopping short.",
        edits=(
            ("    return FINAL_LR + (1 - FINAL_LR) * max(0.0, left)",
             "    return FINAL_LR + (1 - FINAL_LR) * (0.5 - 0.5 * math.cos(math.pi * max(0.0, left)))"),
        ),
    ),
    Rewrite(
        "Warm down by one minus the square root", "schedule", 0.0005,
        "Falling fast at first and slowly at the end spends more steps at small learning rates, where the loss falls most.",
        edits=(
            ("    return FINAL_LR + (1 - FINAL_LR) * max(0.0, left)",
             "    return FINAL_LR + (1 - FINAL_LR) * (1 - math.sqrt(1 - max(0.0, left)))"),
        ),
    ),
    Rewrite(
        "Decay matrices in step with the learning rate", "schedule", 0.0005,
        "Decay should balance the size of the updates, so it should fall when they fall and not before.",
        edits=(
            ("        self.muon.step(MATRIX_LR * factor, momentum_at(progress), MATRIX_DECAY * (1 - progress))",
             "        self.muon.step(MATRIX_LR * factor, momentum_at(progress), MATRIX_DECAY * factor)"),
        ),
    ),
    # The optimizer.
    Rewrite(
        "Clip the gradient of what AdamW trains", "optimizer", 0.001,
        "One odd batch can throw rare embeddings far off; a bound on the norm costs nothing while training is calm.",
        edits=(
            ("        self.adamw.step(factor)",
             "        nn.utils.clip_grad_norm_([p for g in self.adamw.groups for p in g[\"parameters\"]], 1.0)\n"
             "        self.adamw.step(factor)"),
        ),
    ),
    Rewrite(
        "Hand over an average of the last weights", "optimizer", 0.002,
        "The weights still jitter around their mean at the end; an exponential average of the last tenth is nearer to it.",
        edits=(
            ("    batches = prepare.start(ROWS)",
             "    batches = prepare.start(ROWS)\n"
             "    average: list[Tensor] = []"),
            ("        step += 1",
             "        step += 1\n"
             "        if progress > 0.9:\n"
             "            weights = [p.data for p in trainer.model.parameters()]\n"
             "            average = average or [weight.clone() for weight in weights]\n"
             "            torch._foreach_lerp_(average, weights, 0.1)"),
            ("    summary = prepare.evaluate(trainer.model)",
             "    for p, mean in zip(trainer.model.parameters(), average, strict=False):\n"
             "        p.data.copy_(mean)\n"
             "    summary = prepare.evaluate(trainer.model)"),
        ),
    ),
    Rewrite(
        "A small penalty on the normalizer of the softmax", "regularisation", 0.0005,
        "A z-loss keeps log Z near zero, so that logits do not drift together and stay in the range where the soft-cap is straight.",
        edits=(
            ("            grad = odds.scatter_add_(1, index, -total)",
             "            log_z = total.log() - SOFTCAP\n"
             "            grad = odds.mul_(1 + 2e-3 * log_z).scatter_add_(1, index, -total)"),
            ("        return F.cross_entropy(softcap(linear(x, self.head).float()), targets)",
             "        logits = softcap(linear(x, self.head).float())\n"
             "        return F.cross_entropy(logits, targets) + 1e-3 * logits.logsumexp(-1).square().mean()"),
        ),
    ),
    # Less is more.
    Rewrite(
        "Muon without evened-out rows", "simplification", 0.0005,
        "If orthogonal updates are even enough as they are, the second moment per row is a cost and a constant too many.",
        edits=(
            ("            update = even_out(orthogonalize(grad.lerp_(velocity, momentum)), variance)",
             "            update = orthogonalize(grad.lerp_(velocity, momentum))"),
        ),
    ),
    Rewrite(
        "Plain instead of cautious weight decay", "simplification", 0.0003,
        "In a run this short decay is weak either way, and the plain kind is one comparison less on every weight.",
        edits=(
            ("                # Cautious: decay only where the update already points towards zero.\n"
             "                change = torch.addcmul(change, p, change * p > 0, value=decay)",
             "                change = change.add(p, alpha=decay)"),
        ),
    ),
    Rewrite(
        "Value embeddings without gates", "simplification", 0.0005,
        "If each token's own value belongs everywhere, the gates only slow it down; a plain sum is simpler.",
        edits=(
            ("            self.gate = nn.Parameter(torch.zeros(self.heads, GATE_CHANNELS))",
             ""),
            ("            gate = GATE_RANGE * torch.sigmoid(linear(x[..., :GATE_CHANNELS], self.gate))",
             ""),
            ("            v = v + gate[..., None] * value.view(B, T, self.heads, HEAD_WIDTH)",
             "            v = v + value.view(B, T, self.heads, HEAD_WIDTH)"),
        ),
    ),
    Rewrite(
        "No smear of each token into the next", "simplification", 0.0002,
        "The first attention layer can look one token back by itself; without the smear there is one mechanism less.",
        edits=(
            ("        self.smear_gate = nn.Parameter(torch.zeros(1, GATE_CHANNELS))\n"
             "        self.smear_scale = nn.Parameter(torch.zeros(()))",
             ""),
            ("    def smear(self, x: Tensor) -> Tensor:\n"
             "        \"\"\"Add to each token's embedding a gated share of the one before; x is (B, T, width).\"\"\"\n"
             "        gate = torch.sigmoid(linear(x[:, 1:, :GATE_CHANNELS], self.smear_gate))\n"
             "        return torch.cat((x[:, :1], x[:, 1:] + self.smear_scale * gate * x[:, :-1]), 1)",
             ""),
            ("        x = x0 = self.smear(x)",
             ""),
            ("    optimizer.add([model.smear_scale], SMEAR_LR)",
             ""),
            ("    optimizer.add([model.smear_gate, *model.named(\"gate\")], GATE_LR)",
             "    optimizer.add(model.named(\"gate\"), GATE_LR)"),
        ),
    ),
    Rewrite(
        "No value embeddings", "simplification", 0.0002,
        "They are most of the parameters; if attention does as well without them, the model is far simpler.",
        edits=(
            ("        self.has_value = (DEPTH - 1 - layer) % VALUE_EMBEDDING_EVERY == 0",
             "        self.has_value = False"),
        ),
    ),
    Rewrite(
        "No share of the token embedding in later layers", "simplification", 0.0003,
        "The residual stream carries the embedding already; without the second path a layer costs a little less.",
        edits=(
            ("        self.x0_lambdas = nn.Parameter(torch.full((DEPTH,), X0_LAMBDA))",
             ""),
            ("        residual, initial = self.residual_lambdas.to(DTYPE), self.x0_lambdas.to(DTYPE)",
             "        residual = self.residual_lambdas.to(DTYPE)"),
            ("            x = residual[layer] * x + initial[layer] * x0",
             "            x = residual[layer] * x"),
            ("    optimizer.add([model.x0_lambdas], SCALAR_LR, beta1=X0_BETA1)",
             ""),
        ),
    ),
    Rewrite(
        "No learned factor on the residual stream", "simplification", 0.0003,
        "Every layer normalizes what it reads, so a factor before it has little left to do.",
        edits=(
            ("        self.residual_lambdas = nn.Parameter(torch.full((DEPTH,), RESIDUAL_LAMBDA))",
             ""),
            ("        residual, initial = self.residual_lambdas.to(DTYPE), self.x0_lambdas.to(DTYPE)",
             "        initial = self.x0_lambdas.to(DTYPE)"),
            ("            x = residual[layer] * x + initial[layer] * x0",
             "            x = x + initial[layer] * x0"),
            ("    optimizer.add([model.residual_lambdas], SCALAR_LR / 100)",
             ""),
        ),
    ),
)
# fmt: on

# Where a number belongs that the table does not know: the first pattern found in its name says it.
_GUESSES: tuple[tuple[str, Category], ...] = (
    (r"WARM|FINAL|COOL", "schedule"),
    (r"BATCH|ACCUM", "batch"),
    (r"DROP|DECAY|Z_LOSS|CLIP|SOFTCAP", "regularisation"),
    (r"INIT|STD", "initialisation"),
    (r"WINDOW|HEAD|ROPE|ATTENTION", "attention"),
    (r"LR|BETA|MOMENTUM|STEPS", "optimizer"),
)
# Numbers that are no matter of taste: the seed, the vocabulary, limits, what is only printed.
_NOT_OURS = re.compile(
    r"SEED|VOCAB|SEQUENCE|CONTEXT|DEVICE|SECONDS|BUDGET|LIMIT|REFERENCE|FLOPS|LOG|PRINT|REPORT|EPS"
)


def knob_for(constant: Constant) -> Knob | None:
    """The table's knob for a constant; else a generic one if it is a number; else None."""
    for knob in KNOBS:
        if knob.name == constant.name:
            return knob
    if _NOT_OURS.search(constant.name) or {type(value) for value in constant.values} - {int, float}:
        return None
    return Knob(constant.name, _category(constant), _step(constant), *_unknown(constant))


def _category(constant: Constant) -> Category:
    for pattern, category in _GUESSES:
        if re.search(pattern, constant.name):
            return category
    return "architecture"


def _step(constant: Constant) -> Step:
    if re.search(r"BETA|MOMENTUM", constant.name):
        return NearOne(2)
    if 0 in constant.values:
        return Plus(0.1, low=-math.inf) if float in map(type, constant.values) else Plus(1)
    if all(isinstance(value, int) and 0 < value < 16 for value in constant.values):
        return Plus(1, low=1)
    return Times(1.5)


def _unknown(constant: Constant) -> tuple[Turn, Turn]:
    meaning = f", which its line explains as “{constant.meaning}”" if constant.meaning else ""
    turn = Turn(
        0.001,
        f"The playbook knows nothing of {constant.name} but its name{meaning}; a number that nobody "
        "has tuned is seldom best where it stands, and one trial each way tells the slope.",
    )
    return turn, turn
