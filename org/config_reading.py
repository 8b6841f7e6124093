"""org.yaml read, with what is wrong across its keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from org.config import Config, EngineerConfig, Moment
from org.config_errors import problems_of
from org.config_fields import Where
from org.yaml_lines import Document, KeyPath, Place, Problem
from roles.prices import price_of

# Names that the discussion gives to its own speakers and listeners, and the chart to its places.
TAKEN_NAMES = (
    "director",
    "engineer",
    "reviewer",
    "lab",
    "trial",
    "verdict",
    "everyone",
    "person",
    *("approve", "smoke", "certify"),
    *get_args(Moment),
)


class ConfigError(Exception):
    """org.yaml cannot be used; the text has one line for each thing that is wrong with it."""


def load_config(path: Path, *, to_run: bool = True) -> Config:
    """Read an organization from its org.yaml.

    With ``to_run`` the world outside the file must be ready too: program, prompts and scripts
    there, train.py compiling, a key in the environment for every language model that needs one.

    Raises:
        ConfigError: all that is wrong, one line each: file, line, key, what was expected.
    """
    document = Document(_read(path))
    problems = [*document.problems, *_name_problems(document), *_price_problems(document)]
    problems += _rounds_problems(document)
    config: Config | None = None
    if () in document.places:
        where = Where(path.parent.absolute(), to_run)
        try:
            config = Config.model_validate(document.places[()].value, context=where)
        except ValidationError as error:
            already = {(problem.line, problem.path) for problem in document.problems}
            found = problems_of(error, document, Config)
            problems += [one for one in found if (one.line, one.path) not in already]
    if config is None or problems:
        problems.sort(key=lambda problem: problem.line)
        raise ConfigError("\n".join(f"{path}:{problem}" for problem in problems))
    return config


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "`python -m org init DIR` writes one to start from"
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text in UTF-8") from None


def _name_problems(document: Document) -> Iterator[Problem]:
    """Names that two would answer to. Found in the text, so that other errors do not hide them."""
    lines: dict[str, int] = {}
    for path, (line, name) in document.places.items():
        is_name = len(path) == 4 and isinstance(path[2], int) and path[3] == "name"
        if not is_name or not isinstance(name, str):
            continue
        if name in TAKEN_NAMES:
            text = f"expected another name, {name!r} means someone else in the discussion"
            yield Problem(line, path, text)
        elif name in lines:
            text = f"expected another name, {name!r} is taken already, in line {lines[name]}"
            yield Problem(line, path, text)
        lines.setdefault(name, line)


def _rounds_problems(document: Document) -> Iterator[Problem]:
    """More rounds of revision than there may be patches: they would never be had."""
    path: KeyPath = ("review", "rounds")
    usual = EngineerConfig.model_fields["attempts"].default
    attempts = document.places.get(("roles", "engineer", "attempts"), Place(0, usual)).value
    line, rounds = document.places.get(path, Place(0, None))
    if isinstance(rounds, int) and isinstance(attempts, int) and rounds >= max(attempts, 1):
        most = f"at most {max(attempts, 1) - 1}, as roles.engineer.attempts is {attempts}"
        yield Problem(line, path, f"expected {most}, not {rounds}")


def _price_problems(document: Document) -> Iterator[Problem]:
    """Language models that a budget in dollars could not be kept with: of unknown price or length."""
    if document.places.get(("budget", "dollars"), Place(0, None)).value is None:
        return
    for path, (line, name) in document.places.items():
        is_model = path[-2:] == ("model", "name") or path[-1:] == ("model",)
        if not (is_model and isinstance(name, str) and name.startswith("openai:")):
            continue
        block = path[:-1] if path[-1] == "name" else path
        said = {
            key: document.places.get((*block, key), Place(0, None)).value
            for key in ("price", "base_url", "max_tokens")
        }
        url = said["base_url"] if isinstance(said["base_url"], str) else None
        if said["price"] is None and price_of(name.removeprefix("openai:"), url) is None:
            long = f"{{name: {name}, price: [read, written]}}"
            yield Problem(line, path, f"expected a price, as budget.dollars is set: {long}")
        free = said["price"] in ((0, 0), [0, 0])
        if not free and said["max_tokens"] is None and not _bounded(document, block[:-1]):
            yield Problem(
                line, path, "expected max_tokens, as budget.dollars is set: how long a reply may be"
            )


def _bounded(document: Document, owner: KeyPath) -> bool:
    """Whether those who use the model of a role, or the one for all, each have max_tokens."""
    roles = [
        path[:-1] for path in document.places if path[:1] == ("roles",) and path[-1] == "prompt"
    ]
    users = (
        [owner] if owner else [each for each in roles if (*each, "model") not in document.places]
    )
    return all((*each, "max_tokens") in document.places for each in users)
