"""Runs the train.py of a checkout of autoresearch on this project's corpus, also without a GPU.

Nothing of it is stored here: its text is read, rewritten where it needs CUDA, and run.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.shim import Terms, Told
from benchmarks.table import PEER, Figures
from trainer.sandbox import trial_environment

PATIENCE = 20  # times the budget, after which a peer is not waited for any longer
LOG_LINES = 12  # of a failed peer's output that are shown

# `prepare`, for the peer: the names that its train.py imports.
PREPARE = """\
from pathlib import Path

from benchmarks.shim import Shim, attention

Tokenizer = Shim(Path(__file__).parent)
MAX_SEQ_LEN = Tokenizer.sequence_length
TIME_BUDGET = Tokenizer.seconds
make_dataloader = Tokenizer.make_dataloader
evaluate_bpb = Tokenizer.evaluate_bpb
"""


class PeerError(Exception):
    """The peer cannot be run; the text says why."""


class Sizes(BaseModel):
    """A model's size and batch, in our words; widths are channels, ``rows`` go in one pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int
    width: int
    head_width: int
    batch_tokens: int
    rows: int
    pattern: str

    def peer_constants(self) -> dict[str, int | str]:
        """The same in the peer's words; it rounds depth times ratio up to whole heads."""
        return {
            "DEPTH": self.depth,
            "ASPECT_RATIO": self.width // self.depth,
            "HEAD_DIM": self.head_width,
            "TOTAL_BATCH_SIZE": self.batch_tokens,
            "DEVICE_BATCH_SIZE": self.rows,
            "WINDOW_PATTERN": self.pattern,
        }


def read_peer(path: Path) -> str:
    """The text of the checkout's train.py.

    Raises:
        PeerError: there is none, or it is not autoresearch's.
    """
    try:
        source = (path / "train.py").read_text(encoding="utf-8")
        imported = {
            name.name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom) and node.module == "prepare"
            for name in node.names
        }
    except (OSError, UnicodeDecodeError) as error:
        raise PeerError(f"{path} is no checkout of autoresearch: no train.py to read") from error
    except SyntaxError as error:
        raise PeerError(f"{path}/train.py is no Python: {error}") from error
    if missing := {"TIME_BUDGET", "make_dataloader", "evaluate_bpb"} - imported:
        names = ", ".join(sorted(missing))
        raise PeerError(f"{path}/train.py is not autoresearch's: it does not import {names}")
    return source


# --- rewriting --------------------------------------------------------------------------------


def rewrite(source: str, *, seed: int, sizes: Sizes | None, cpu: bool, bfloat16: bool) -> str:
    """The peer's train.py with this seed and these sizes, and where ``cpu`` is set for a CPU.

    ``bfloat16`` keeps its number format on a CPU; otherwise all is float32.

    Raises:
        PeerError: a constant to be set is not there.
    """
    tree = ast.parse(source)
    constants = sizes.peer_constants() if sizes else {}
    setting = _Constants(constants, seed)
    tree = setting.visit(tree)
    if missing := constants.keys() - setting.found:
        raise PeerError(f"the peer's train.py does not set {', '.join(sorted(missing))}")
    if cpu:
        tree = _OnCpu(bfloat16).visit(tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, with nothing for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


class _Constants(ast.NodeTransformer):
    """Sets constants of the module and the seed; looks into no function."""

    def __init__(self, constants: dict[str, int | str], seed: int) -> None:
        self.constants = constants
        self.seed = seed
        self.found: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        name = _dotted(node.targets[0])
        if name in self.constants:
            self.found.add(name)
            node.value = ast.Constant(self.constants[name])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _dotted(node.func) in ("torch.manual_seed", "torch.cuda.manual_seed"):
            node.args = [ast.Constant(self.seed)]
        return node


class _OnCpu(ast.NodeTransformer):
    """Replaces what needs CUDA or its compiler, and makes the clock count processor time."""

    def __init__(self, bfloat16: bool) -> None:
        self.bfloat16 = bfloat16

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "kernels":
            return ast.Pass()
        if node.module == "prepare":
            node.names.append(ast.alias("attention"))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [
            decorator
            for decorator in node.decorator_list
            if "torch.compile" not in ast.unparse(decorator)
        ]
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        loads_a_kernel = any(_dotted(part) == "get_kernel" for part in ast.walk(node.value))
        return ast.Pass() if loads_a_kernel else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        called = _dotted(node.value.func) if isinstance(node.value, ast.Call) else ""
        return ast.Pass() if called.startswith("torch.cuda.") else self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        # The first steps are left out of its clock, because they compile. Here nothing does.
        limit = node.comparators[0]
        if (
            _dotted(node.left) == "step"
            and isinstance(node.ops[0], ast.Gt)
            and isinstance(limit, ast.Constant)
        ):
            node.comparators[0] = ast.Constant(-1)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("cpu") if node.value == "cuda" else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if not self.bfloat16:
            node.attr = {"torch.bfloat16": "float32"}.get(_dotted(node), node.attr)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = _dotted(node.func)
        last = name.rpartition(".")[2] or getattr(node.func, "attr", "")
        if name == "torch.compile":
            inner: ast.AST = self.visit(node.args[0])
            return inner
        if name.startswith("torch.cuda."):
            return ast.Constant(0)
        self.generic_visit(node)
        node.keywords = [k for k in node.keywords if k.arg not in ("fused", "pin_memory")]
        if last == "flash_attn_func":
            node.func = ast.Name("attention", ast.Load())
        elif name == "time.time":
            node.func = ast.Attribute(ast.Name("time", ast.Load()), "process_time", ast.Load())
        elif last == "lerp_":  # compiled, it takes a weight of another type
            node.args[1] = ast.Call(ast.Name("float", ast.Load()), [node.args[1]], [])
        elif last == "autocast" and not self.bfloat16:
            node.keywords.append(ast.keyword("enabled", ast.Constant(False)))
        elif last == "bfloat16" and not self.bfloat16 and isinstance(node.func, ast.Attribute):
            node.func.attr = "float"
        return node


# --- running ----------------------------------------------------------------------------------


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32: the rule of our own train.py."""
    import torch  # heavy, and not needed for --help

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def train_peer(source: str, terms: Terms, *, sizes: Sizes | None, folder: Path) -> Figures:
    """Run the peer's ``source`` in ``folder``, in a trial's environment, and see what came of it.

    Raises:
        PeerError: it did not come to its evaluation.
    """
    cpu = not terms.device.startswith("cuda")
    seconds = terms.setting.seconds
    text = rewrite(source, seed=terms.seed, sizes=sizes, cpu=cpu, bfloat16=cpu and fast_bfloat16())
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(text, encoding="utf-8")
    (folder / "prepare.py").write_text(PREPARE, encoding="utf-8")
    inside = terms.model_copy(update={"device": "cpu" if cpu else "cuda"})
    (folder / "terms.json").write_text(inside.model_dump_json())
    environment = trial_environment(folder, terms.device, terms.setting.threads)
    began_at = time.time()
    with (folder / "log.txt").open("wb") as log:
        try:
            code = subprocess.run(
                [sys.executable, "train.py"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE * seconds + 120,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"the peer was not done after {error.timeout:.0f} s") from error
    return _figures(folder, terms.seed, code, began_at, time.time())


def _figures(folder: Path, seed: int, code: int, began_at: float, ended_at: float) -> Figures:
    log = (folder / "log.txt").read_text(errors="replace").replace("\r", "\n")
    steps = re.search(r"^num_steps:\s*(\d+)", log, re.MULTILINE)
    if code or not steps or not (folder / "told.json").exists():
        tail = "\n".join(log.strip().splitlines()[-LOG_LINES:])
        raise PeerError(f"the peer's train.py ended with code {code}:\n{tail}")
    told = Told.model_validate_json((folder / "told.json").read_text())
    return Figures(
        contestant=PEER,
        seed=seed,
        val_bpb=told.val_bpb,
        parameters=told.parameters,
        steps=int(steps[1]),
        tokens=told.tokens,
        budget_seconds=told.budget_seconds,
        startup_seconds=told.started_at - began_at,
        training_seconds=told.training_seconds,
        evaluation_seconds=told.evaluation_seconds,
        total_seconds=ended_at - began_at,
    )
