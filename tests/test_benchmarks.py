"""The pure parts of the benchmarks: table, compressors, A/A test, rewriting of a peer's train.py."""

from __future__ import annotations

import ast
import random
import re
import symtable
from pathlib import Path

import pytest
import torch

from benchmarks.aa import chains, greedy, report
from benchmarks.compressors import COMPRESSORS, bits_per_byte
from benchmarks.nulls import null_edit
from benchmarks.peer import PeerError, Sizes, read_peer, rewrite
from benchmarks.shim import attention
from benchmarks.table import EQUAL, OURS, PEER, Figures, against_peer, table
from benchmarks.trainer import TRAIN, resized, sizes_of
from org.head import search_seed
from roles.records import Verdict
from tests.notebooks import BASELINE_SCORES, RUN, Night, completed
from trainer.patch import Patch, apply_patch

SIZES = Sizes(depth=3, width=128, head_width=64, batch_tokens=4096, rows=4, pattern="L")

# Made up for this test, with the kinds of lines that need a GPU.
SAMPLE = """
import time
import torch
from kernels import get_kernel
from prepare import TIME_BUDGET, make_dataloader, evaluate_bpb
flash = get_kernel("some/kernel").interface
DEPTH = 8
ASPECT_RATIO = 64
HEAD_DIM = 128
WINDOW_PATTERN = "SSSL"
TOTAL_BATCH_SIZE = 2**19
DEVICE_BATCH_SIZE = 128
torch.manual_seed(42)
torch.cuda.manual_seed(42)
place = torch.device("cuda")
mixed = torch.amp.autocast(device_type="cuda", dtype=torch.bfloat16)
model = torch.compile(torch.nn.Linear(2, 2), dynamic=False)
@torch.compile(fullgraph=True)
def average(old, new, share):
    old.lerp_(new.bfloat16(), 1 - share)
def attend(q, k, v):
    return flash.flash_attn_func(q, k, v, causal=True, window_size=(4, 0))
def wait():
    torch.cuda.synchronize()
step = 1
counts = step > 10
now = time.time()
peak = torch.cuda.max_memory_allocated() / 2
"""


def figures(contestant: str, seed: int, val_bpb: float, tokens: int = 1000) -> Figures:
    return Figures(
        contestant=contestant,
        seed=seed,
        val_bpb=val_bpb,
        parameters=1_640_000,
        steps=10,
        tokens=tokens,
        budget_seconds=20.0,
        startup_seconds=1.0,
        training_seconds=21.0,
        evaluation_seconds=1.0,
        total_seconds=24.0,
        wait_share=0.0025 if contestant != PEER else None,
    )


def test_the_table_has_means_spread_and_what_is_unknown() -> None:
    lines = table([figures(OURS, 1, 1.5), figures(PEER, 1, 2.0), figures(OURS, 2, 1.7)]).split("\n")
    assert len({len(line) for line in lines}) == 1
    ours, peer = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert ours[:4] == [OURS, "2", "1.6000 ± 0.1414", "1.64 M"]
    assert ours[-2:] == ["15.0%", "0.25%"]
    assert peer[2] == "2.0000"
    assert peer[-1] == "unknown"


@pytest.mark.parametrize(("third", "verdict"), [(2.0, "yes"), (1.75, "no")])
def test_better_than_the_peer_means_by_more_than_twice_the_spread(
    third: float, verdict: str
) -> None:
    runs = [figures(OURS, 1, 1.5), figures(OURS, 2, 1.7), figures(PEER, 1, third)]
    assert against_peer(runs, same_sizes=False)[0].endswith(f": {verdict}")


def test_the_speed_at_equal_sizes_is_that_of_the_equal_contestant() -> None:
    runs = [figures(OURS, 1, 1.5, 4000), figures(PEER, 1, 2.0), figures(EQUAL, 1, 1.9, 1500)]
    assert "1.50 times" in against_peer(runs, same_sizes=False)[-1]
    assert "4.00 times" in against_peer(runs[:2], same_sizes=True)[-1]


@pytest.mark.parametrize("name", COMPRESSORS)
def test_text_that_was_seen_costs_a_compressor_less(name: str) -> None:
    chance = random.Random(1)
    text = bytes(chance.choices(range(97, 123), k=5000))
    seen, unseen = (bits_per_byte(COMPRESSORS[name], before, text) for before in (text, b""))
    assert 4.7 < unseen < 6.0
    assert seen < (0.9 if name == "bzip2 -9" else 0.1) * unseen


def test_a_rewritten_peer_runs_without_a_gpu() -> None:
    text = rewrite(SAMPLE, seed=7, sizes=SIZES, cpu=True, bfloat16=False)
    assert "cuda" not in text
    assert "compile" not in text
    assert "attention" in text
    runnable = text.replace("from prepare import", "from benchmarks.peer import PREPARE  #")
    space: dict[str, object] = {"attention": attention}
    exec(compile(runnable, "sample", "exec"), space)
    assert space["DEPTH"] == 3
    assert space["ASPECT_RATIO"] == 42
    assert space["TOTAL_BATCH_SIZE"] == 4096
    assert space["counts"] is True
    assert torch.initial_seed() == 7


def test_a_rewritten_clock_counts_processor_time_from_the_first_step() -> None:
    text = rewrite(SAMPLE, seed=7, sizes=None, cpu=True, bfloat16=True)
    assert "step > -1" in text
    assert "time.process_time()" in text
    assert "bfloat16" in text


def test_on_a_gpu_only_the_seed_changes() -> None:
    changed = rewrite(SAMPLE, seed=7, sizes=None, cpu=False, bfloat16=True)
    assert changed == rewrite(SAMPLE, seed=42, sizes=None, cpu=False, bfloat16=True).replace(
        "seed(42)", "seed(7)"
    )


def test_a_constant_that_the_peer_does_not_set_is_named() -> None:
    with pytest.raises(PeerError, match="HEAD_DIM"):
        rewrite(SAMPLE.replace("HEAD_DIM", "X"), seed=1, sizes=SIZES, cpu=True, bfloat16=True)


@pytest.mark.parametrize("content", [None, "import torch\n", "def\n"])
def test_a_folder_without_the_peer_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "train.py").write_text(content)
    with pytest.raises(PeerError, match=str(tmp_path)) as caught:
        read_peer(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_peers_window_counts_the_keys_before_a_query() -> None:
    q = torch.zeros(1, 6, 1, 2)
    v = torch.arange(6.0).view(1, 6, 1, 1).expand(1, 6, 1, 2)
    seen = attention(q, q, v, causal=True, window_size=(2, 0))[0, :, 0, 0]
    assert torch.allclose(seen, torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 4.0]))
    everything = attention(q, q, v, causal=True, window_size=(-1, 0))[0, 5, 0, 0]
    assert everything == pytest.approx(2.5)


def test_our_train_py_takes_the_peers_sizes(tmp_path: Path) -> None:
    changed = tmp_path / "train.py"
    changed.write_text(resized(TRAIN.read_text(), SIZES, 256))
    assert sizes_of(changed) == SIZES
    assert sizes_of(TRAIN) != SIZES


# --- edits that change nothing ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_an_edit_that_changes_nothing_gives_the_same_program_under_another_name(seed: int) -> None:
    source = TRAIN.read_text()
    edit, words = null_edit(source, random.Random(seed))
    edited = apply_patch(Patch(edits=(edit,), summary=words), source)
    assert edited != source
    before, after = ast.parse(source), ast.parse(edited)
    if named := re.fullmatch(r"Rename (\w+) in (\w+) \((\d+)\)", words):
        name, function, number = named.groups()
        assert name in locals_of(source, function)
        for node in ast.walk(after):
            if isinstance(node, ast.Name) and node.id == f"{name}_{number}":
                node.id = name
        assert ast.dump(before) == ast.dump(after)
    else:  # two constants change places, of which neither needs the other
        assert re.fullmatch(r"\w+ before \w+ \(\d+\)", words)
        lines, moved = (sorted(map(ast.dump, tree.body)) for tree in (before, after))
        assert lines == moved


def locals_of(source: str, function: str) -> set[str]:
    """The names that functions of this name write, in comprehensions too, and nobody hands in."""
    tables, found = [(symtable.symtable(source, "train.py", "exec"), False)], set()
    while tables:
        table, is_within = tables.pop()
        is_within = is_within or table.get_name() == function
        tables.extend((child, is_within) for child in table.get_children())
        if is_within:
            symbols = table.get_symbols()
            found |= {s.get_name() for s in symbols if s.is_local() and not s.is_parameter()}
    return found


def tried(night: Night, number: int, *scores: float) -> None:
    """An experiment whose candidate scored this, the last time after it had been disturbed."""
    experiment = night.begin()
    night.propose(experiment, f"Rename {number}")
    seed = search_seed(night.notebook)
    for count, score in enumerate(scores, start=1):
        sha = night.notebook.keep_source(f"renamed {number}")
        trial = completed(sha, seed, score)
        trial_id = f"{experiment.id}-{seed}-{count}"
        night.notebook.record_trial(trial_id, RUN, experiment.id, "candidate", trial)
    night.close(experiment, Verdict(decision="discard", reason="", lesson=""))


def certified_in_vain(night: Night, *scores: float) -> None:
    """A certification that fails: from then on there is another seed to search under."""
    renamed = night.notebook.keep_source("renamed")
    for seed, score in enumerate(scores, start=1000):
        for sha, bpb in ((renamed, score - 0.002), (night.head, score)):
            trial = completed(sha, seed, bpb)
            night.notebook.record_trial(f"certify-{sha[:12]}-{seed}", RUN, None, "certify", trial)


def test_greed_keeps_whatever_is_lower_than_the_lowest_so_far() -> None:
    keeps, gain = greedy(1.24, [1.25, 1.239, 1.2395, 1.236])
    assert (keeps, gain) == (2, pytest.approx(0.004))


def test_greed_is_replayed_from_the_incumbents_run_under_the_candidates_seed(night: Night) -> None:
    tried(night, 1, 1.2420)
    assert chains(night.notebook) == [[BASELINE_SCORES[-1], 1.2420]]
    tried(night, 2, 1.2000, 1.2430)  # the first of the two was disturbed
    assert chains(night.notebook) == [[BASELINE_SCORES[-1], 1.2420, 1.2430]]


def test_where_the_seed_changes_greed_begins_anew(night: Night) -> None:
    tried(night, 1, 1.2420)
    certified_in_vain(night, 1.2380, 1.2390)
    tried(night, 2, 1.2385)
    assert chains(night.notebook) == [[BASELINE_SCORES[-1], 1.2420], [1.2390, 1.2385]]
    lines = report(night.notebook)
    assert lines[0].startswith("2 candidates that change nothing")
    assert "0 promotions, claimed gain none bpb; 4 runs for proof" in lines[1]
    assert lines[2] == "greedy on the same runs, under 2 seeds: 2 keeps, claimed gain 0.0009 bpb"
