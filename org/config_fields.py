"""The kinds of values in org.yaml, and what must be true of them before a run."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple
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


def compiles(path: Path) -> None:
    """Raise ValueError unless the file is Python."""
    try:
        compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"expected Python, but {path} does not compile: {error}") from None


def has_key(model: str, base_url: str | None) -> None:
    """Raise ValueError if a language model's endpoint wants a key and the environment has none."""
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    if not os.environ.get("OPENAI_API_KEY", "").strip() and not (base_url and is_local(base_url)):
        raise ValueError(
            f"{model} needs a key: set OPENAI_API_KEY in the environment "
            "(an endpoint on this machine or its network, named by base_url, needs none)"
        )


def is_local(url: str) -> bool:
    """Whether an endpoint is on this machine or its network, where servers ask for no key."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".local")


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
Count = Annotated[int, Field(ge=1)]
Dollars = Annotated[float, Field(ge=0)]
Devices = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(cpu|cuda)(:[\w./-]+)?$")], ...],
    Field(min_length=1),
    AfterValidator(_one_kind),
]
