"""What is wrong with a configuration, in sentences: where it stands, what was expected instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from org.yaml_lines import Document, KeyPath, Problem

# By pydantic's error type. What is not here is said in pydantic's own words.
SENTENCES = {
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected text",
    "tuple_type": "expected a list, each entry after a '-'",
    "literal_error": "expected {expected}",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected at least {ge:g}",
    "less_than_equal": "expected at most {le:g}",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length} in this list",
}


def problems_of(error: ValidationError, document: Document, root: type[BaseModel]) -> list[Problem]:
    """Every line of a validation error as a problem at its place in the document.

    A missing key is not reported when an unknown one beside it looks like it, misspelt.
    """
    problems: list[Problem] = []
    missing: list[Problem] = []
    misspelt: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # Not short: its entries have problems of their own.
        path, absent = _path_in(document, detail["loc"])
        line = document.places[path].line
        if detail["type"] == "extra_forbidden":
            fields = section_at(root, path[:-1]).model_fields
            known = [name for name in fields if (*path[:-1], name) not in document.places]
            problems.append(Problem(line, path, f"no such key{_meant(str(path[-1]), known)}"))
            misspelt |= {(*path[:-1], name) for name in nearest(str(path[-1]), known)}
        elif detail["type"] == "missing":
            purpose = section_at(root, path).model_fields[str(absent)].description or "a value"
            first_sentence = re.split(r"[.;:]\s", purpose)[0].rstrip(".")
            text = f"expected, but missing: {first_sentence[0].lower()}{first_sentence[1:]}"
            missing.append(Problem(line, (*path, str(absent)), text))
        else:
            value = document.places[path].value
            problems.append(Problem(line, path, _sentence(detail, value, section_at(root, path))))
    return problems + [problem for problem in missing if problem.path not in misspelt]


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The known word that was probably meant, if there is one."""
    return difflib.get_close_matches(word, list(known), n=1)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing where no known word is near."""
    return "".join(f" (did you mean {name!r}?)" for name in nearest(word, known))


def section_at(root: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    """The type of the innermost block of keys on a path that exists in the types."""
    section = root
    for part in path:
        if isinstance(part, str) and part in section.model_fields:
            section = _block(section.model_fields[part].annotation) or section
    return section


def _block(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_block, get_args(annotation))), None)


def _path_in(document: Document, location: KeyPath) -> tuple[KeyPath, str | int]:
    """The part of a location that stands in the document, and the last part, which may not.

    Pydantic also names steps that no one wrote: the inside of a short form, a branch of a union.
    """
    path: KeyPath = ()
    for part in location:
        if (*path, part) in document.places:
            path = (*path, part)
    return path, location[-1] if location else ""


def _meant(word: str, known: Iterable[str]) -> str:
    return did_you_mean(word, known) or f"; there could be {', '.join(known) or 'no other'}"


def _sentence(detail: ErrorDetails, value: object, section: type[BaseModel]) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] == "model_type":
        return f"expected a block of keys: {', '.join(section.model_fields)}"
    sentence = SENTENCES.get(detail["type"], detail["msg"]).format(**context)
    if value is None:
        return f"{sentence}, but nothing stands here"
    if isinstance(value, str) and detail["type"] == "literal_error":
        return sentence + _not(value) + did_you_mean(value, re.findall("'(.*?)'", sentence))
    return sentence + _not(value)


def _not(value: object) -> str:
    return (
        f", not {value!r}" if isinstance(value, str | int | float) and len(str(value)) < 80 else ""
    )
