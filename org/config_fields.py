"""The kinds of values in org.yaml, and what must be true of them before a run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from roles.endpoint import KEY_VARIABLE, is_local

# The parameters of a request that have keys of their own in org.yaml, or that carry the question.
SET_ALREADY = {
    *("model", "messages", "stream", "n", "response_format", "tools", "tool_choice"),
    *("temperature", "reasoning_effort", "max_completion_tokens"),
}


class Where(NamedTuple):
    """What validation knows besides the text: where paths start, and whether a run is to follow."""

    folder: Path
    to_run: bool


def expecting(what: str) -> WrapValidator:
    """Say what was expected once, in these words, whatever the types inside would say."""

    def validate(value: object, inner: ValidatorFunctionWrapHandler) -> object:
        try:
            return inner(value)
        except ValidationError:
            raise ValueError(f"expected {what}, not {_shown(value)}") from None

    return WrapValidator(validate)


def _shown(value: object) -> str:
    """A value as it stands in YAML, more or less: a sequence is a list there."""
    return repr(list(value) if isinstance(value, tuple) else value)


def from_folder(value: object, info: ValidationInfo) -> Path:
    """A path, starting at the folder of org.yaml where that is known."""
    if not isinstance(value, str | Path):
        raise ValueError(f"expected a path, not {_shown(value)}")
    path = Path(value).expanduser() if str(value).startswith("~/") else Path(value)
    return info.context.folder / path if info.context else path


def before_a_run(check: Callable[[Path], None]) -> AfterValidator:
    """A check of the world outside of org.yaml, made where a run is to follow."""

    def validate(path: Path, info: ValidationInfo) -> Path:
        if info.context and info.context.to_run:
            check(path)
        return path

    return AfterValidator(validate)


def has_text(path: Path) -> None:
    """Raise ValueError unless the file can be read and says something."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"expected a file, but there is no {path}") from None
    except OSError as error:
        raise ValueError(f"expected a file, but {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"expected text, but {path} is not UTF-8") from None
    if not text.strip():
        raise ValueError(f"expected some text, but {path} is empty")


def has_notebook(folder: Path) -> None:
    """Raise ValueError unless the folder is a lab in which something may have been said."""
    if not (folder / "notebook.sqlite").is_file():
        raise ValueError(f"expected a lab to replay, but there is no notebook.sqlite in {folder}")


def compiles(path: Path) -> None:
    """Raise ValueError unless the file is Python."""
    try:
        compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"expected Python, but {path} does not compile: {error}") from None


def has_key(model: str, base_url: str | None, variable: str | None) -> None:
    """Raise ValueError if a language model's endpoint wants a key and the environment has none.

    A variable that org.yaml names must be set wherever the endpoint is.
    """
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    needless = variable is None and base_url and is_local(base_url)
    variable = variable or KEY_VARIABLE
    if not os.environ.get(variable, "").strip() and not needless:
        raise ValueError(
            f"{model} needs a key: set {variable} in the environment "
            "(an endpoint on this machine or its network, named by base_url, needs none)"
        )


def _is_a_name(variable: str) -> str:
    # What is no name of a variable may be the key itself: it is not repeated.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise ValueError("expected the name of a variable, such as OPENROUTER_API_KEY, not a key")
    return variable


def _can_be_sent(body: dict[str, Any]) -> dict[str, Any]:
    """Further parameters of a request: JSON, and none that this program sets itself."""
    if taken := sorted(SET_ALREADY & body.keys()):
        raise ValueError(f"expected nothing that is set already: {', '.join(taken)}")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected what JSON can say: {error}") from None
    return body


def _has_host(url: str) -> str:
    if not urlsplit(url).hostname:
        raise ValueError("no host")
    return url


def _one_kind(devices: tuple[str, ...]) -> tuple[str, ...]:
    kinds = {device.partition(":")[0] for device in devices}
    if len(set(devices)) < len(devices) or len(kinds) > 1:
        raise ValueError("one device twice, or two kinds")
    return devices


AnyPath = Annotated[Path, BeforeValidator(from_folder)]
TextFile = Annotated[AnyPath, before_a_run(has_text)]
Source = Annotated[TextFile, before_a_run(compiles)]
Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$"),
    expecting("a plain word of small letters, digits, - and _"),
]
Url = Annotated[
    str,
    Field(pattern=r"^https?://\S+$"),
    AfterValidator(_has_host),
    expecting("a URL such as http://127.0.0.1:8080/v1"),
]
Variable = Annotated[str, AfterValidator(_is_a_name)]
Body = Annotated[dict[str, Any], AfterValidator(_can_be_sent)]
Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Dollars = Annotated[float, Field(ge=0)]
Devices = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(cpu(:[\w./-]+)?|cuda:[\w./-]+)$")], ...],
    Field(min_length=1),
    AfterValidator(_one_kind),
]
