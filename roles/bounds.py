"""What a train.py reaches for that is none of its business, as far as reading it can tell.

It spares a trial that would be rejected, and says why in the reviewer's name. It is no wall: code
that means to hide will; what holds a trial is the sandbox, and a score that is taken outside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from trainer.source import PIECES_REMEMBERED, pieces, statements, syntax_tree


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Modules that are there for everyone; what within them opens a door again; and modules of which
# only a few parts are there.
OPEN_MODULES = _names(
    "__future__ abc bisect collections contextlib copy dataclasses enum functools gc heapq "
    "itertools math numbers numpy operator random statistics time torch typing warnings"
)
CLOSED_PARTS = _names(
    "gc.get_objects gc.get_referents gc.get_referrers numpy.ctypeslib numpy.fromfile "
    "numpy.genfromtxt numpy.load numpy.loadtxt numpy.memmap numpy.save numpy.savetxt numpy.savez "
    "torch.classes torch.distributed torch.from_file torch.hub torch.jit.load torch.jit.save "
    "torch.load torch.multiprocessing torch.ops.load_library torch.package torch.save "
    "torch.serialization torch.utils.cpp_extension"
)
PREPARE = "trainer.prepare"
OPEN_PARTS = {
    PREPARE: _names("evaluate progress report setting start warming_up"),
    "sys": _names("exit platform"),
}

# A patch is a change of code: text that was learned by heart, or a table of numbers, is data.
TEXT_CHARACTERS = 300
TABLE_ELEMENTS = 64

_CLOSED_BUILTINS = _names("__builtins__ __import__ breakpoint compile eval exec globals input open")
_CLOSED_ATTRIBUTES = _names("__builtins__ __code__ __doc__ __globals__ __loader__ __subclasses__")
_SETTERS = _names("__delattr__ __setattr__ delattr setattr")
_SEEDERS = _names("RandomState default_rng manual_seed manual_seed_all seed seed_all set_rng_state")


def trespasses(source: str) -> Mapping[str, int]:
    """What a source does that it should not, in words, each with the line where it first does.

    That is: modules other than the open ones and ``trainer.prepare``; files, eval, exec and their
    like; anything of prepare but its functions; assigning to a module's attributes, other
    than torch.backends and config objects; a seed that is not the attribute ``seed`` of the
    trial's setting; long texts and tables, which could be data that a model is to be judged by.

    Raises:
        SyntaxError: the source does not compile.
    """
    parts = pieces(source)
    imported = chain.from_iterable(_imports(part.text) for part in parts)
    # A name that was imported twice is what the inner statement says, or else the later one.
    names = {name: full for _, name, full in sorted(imported, key=itemgetter(0))}
    found: dict[str, int] = {}
    for part in parts:
        opens = not part.statements_before
        for what, line in _within(part.text, opens, tuple(names.items())).items():
            found.setdefault(what, part.lines_before + line)
    return found


@lru_cache(PIECES_REMEMBERED)
def _imports(piece: str) -> list[tuple[int, str, str]]:
    """The names that a piece imports: how deep the import stands, the name, what it stands for."""
    return [
        (depth, *pair) for depth, node in statements(syntax_tree(piece)) for pair in _imported(node)
    ]


@lru_cache(PIECES_REMEMBERED)
def _within(piece: str, opens: bool, names: tuple[tuple[str, str], ...]) -> Mapping[str, int]:
    """The trespasses of a piece, which ``opens`` its source or not, with the lines in the piece."""
    tree = syntax_tree(piece)
    reader = _Reader(tree, opens, dict(names))
    reader.visit(tree)
    return reader.found


class _Reader(ast.NodeVisitor):
    """Walks a tree once; ``names`` says which module or part of one a name was imported as."""

    def __init__(self, tree: ast.Module, opens: bool, names: Mapping[str, str]) -> None:
        self.found: dict[str, int] = {}
        self.names = names
        # What stands first in a piece is the module's docstring only where nothing is before it.
        self.docstrings = {_docstring(node) for depth, node in statements(tree) if depth or opens}

    def note(self, node: ast.stmt | ast.expr | ast.keyword, what: str) -> None:
        self.found.setdefault(what, node.lineno)

    def dotted(self, node: ast.AST) -> str | None:
        """The full name of a part of an imported module: ``F.gelu`` is torch.nn.functional.gelu."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute(value=value, attr=attribute):
                owner = self.dotted(value)
                return f"{owner}.{attribute}" if owner else None
        return None

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if not _is_open(alias.name):
                self.note(node, f"imports {alias.name}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = f"{node.module}." if node.module else ""
        for alias in node.names:
            name = f"{'.' * node.level}{module}{alias.name}"
            if not _is_open(name):
                self.note(node, f"imports {name}")

    def visit_Call(self, node: ast.Call) -> None:
        full = self.dotted(node.func)
        name = getattr(node.func, "attr", "") or (full or "").rpartition(".")[2]
        if full and not _is_open(full):
            self.note(node, f"calls {ast.unparse(node)}")
        elif name in _SEEDERS and not (len(node.args) == 1 and _is_given_seed(node.args[0])):
            self.note(node, f"sets a seed of its own: {ast.unparse(node)}")
        else:
            self.visit(node.func)
        if name in _SETTERS or getattr(node.func, "id", "") in _SETTERS:
            self.note(node, f"sets an attribute by its name: {ast.unparse(node)}")
        for argument in (*node.args, *node.keywords):
            self.visit(argument)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg == "seed" and not _is_given_seed(node.value):
            self.note(node, f"sets a seed of its own: {ast.unparse(node)}")
        self.visit(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self.dotted(node)
        if node.attr in _CLOSED_ATTRIBUTES:
            self.note(node, f"uses {ast.unparse(node)}")
        if not isinstance(node.ctx, ast.Load):
            if node.attr == "seed" or (full and not _may_be_set(full)):
                self.note(node, f"assigns to {full or ast.unparse(node)}")
        elif full and not _is_open(full):
            self.note(node, f"uses {full}")
        if full is None:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        full = self.names.get(node.id, "")
        if isinstance(node.ctx, ast.Load):
            if full == PREPARE:
                self.note(node, f"hands {PREPARE} around")
            elif full and not _is_open(full):
                self.note(node, f"uses {full}")
            elif node.id in _CLOSED_BUILTINS:
                self.note(node, f"uses {node.id}")
        elif full.startswith(PREPARE):
            self.note(node, f"assigns to {full}")
        elif node.id.lower() == "seed":
            self.note(node, f"has a {node.id} of its own")

    def visit_Constant(self, node: ast.Constant) -> None:
        is_text = isinstance(node.value, str | bytes) and node not in self.docstrings
        if is_text and len(node.value) > TEXT_CHARACTERS:  # type: ignore[arg-type]
            self.note(node, f"holds a text of {len(node.value)} characters")  # type: ignore[arg-type]
        if isinstance(node.value, int) and node.value.bit_length() > TEXT_CHARACTERS:
            self.note(node, f"holds a number of {node.value.bit_length()} bits")

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            elements = node.keys if isinstance(node, ast.Dict) else node.elts
            if len(elements) > TABLE_ELEMENTS:
                self.note(node, f"holds a table of {len(elements)} elements")
        super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if self.names.get(node.name, "").startswith(PREPARE):
            self.note(node, f"defines {node.name} again, which is {self.names[node.name]}")
        self.generic_visit(node)


def _docstring(node: ast.AST) -> ast.Constant | None:
    """The node of a docstring, where there is one: it cannot be read without ``__doc__``."""
    match node:
        case (
            ast.Module(body=[ast.Expr(value=ast.Constant() as text), *_])
            | ast.FunctionDef(body=[ast.Expr(value=ast.Constant() as text), *_])
            | ast.ClassDef(body=[ast.Expr(value=ast.Constant() as text), *_])
        ):
            return text
    return None


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that an import statement binds, and what each stands for."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                root = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (root, root)
        case ast.ImportFrom(module=module, names=aliases):
            for alias in aliases:
                yield alias.asname or alias.name, f"{module or ''}.{alias.name}"


def _is_open(full: str) -> bool:
    """Whether a module, or a part of one, is there for a train.py to use."""
    if full == "trainer" or full in OPEN_PARTS:
        return True
    for module, parts in OPEN_PARTS.items():
        if full.startswith(f"{module}."):
            return full.removeprefix(f"{module}.").split(".")[0] in parts
    steps = full.split(".")
    above = {".".join(steps[:count]) for count in range(1, len(steps) + 1)}
    return steps[0] in OPEN_MODULES and not above & CLOSED_PARTS


def _may_be_set(full: str) -> bool:
    return full.startswith("torch.backends.") or (full.startswith("torch.") and ".config." in full)


def _is_given_seed(node: ast.expr) -> bool:
    """Whether an expression is the trial's own seed, as it is: ``SETTING.seed``."""
    return isinstance(node, ast.Attribute) and node.attr == "seed"
