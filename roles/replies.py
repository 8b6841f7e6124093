"""Replies as they are asked for, as JSON schema, and read out of whatever a model wrote."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from roles.model import Reply
from roles.quoting import at_most
from roles.records import Prose, Record

_BOUNDS = ("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


class UnfitError(ValueError):
    """A text that is no reply of the type asked for; the message tells its writer why."""


def schema_of(reply_type: type[Record]) -> dict[str, Any]:
    """A record's JSON schema as OpenAI's strict mode wants it: all required, no defaults."""
    schema = reply_type.model_json_schema()
    fields = {
        name: {key: value for key, value in field.items() if key not in ("default", "title")}
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": fields, "required": list(fields)}


def unbounded(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema without lengths and limits, for who refuses to hold a reply to them."""
    fields = {
        name: {key: value for key, value in field.items() if key not in _BOUNDS}
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": fields}


def apart(text: str) -> tuple[str, str]:
    """What a model said, and what it thought aloud before that.

    Servers that do not take a model's thoughts out of its reply leave them at the beginning; some
    leave out the mark that opens them.
    """
    begun = text.lstrip()
    thought, closed, rest = begun.removeprefix("<think>").partition("</think>")
    if begun.startswith("<think>") or (closed and not begun.startswith("{")):
        return rest.lstrip(), thought.strip()
    return text, ""


def read_reply(text: str, reply_type: type[Reply], *, shorten: bool) -> Reply:
    """Make a reply of a text, in which JSON may stand between prose, fences and thoughts.

    Of several objects that fit, the last one counts; what lies within an object that has all the
    fields does not: it may be a quotation. With ``shorten``, strings that are too long are cut to
    their maximum length; nothing else is ever mended, and a key too many is never passed over.

    Raises:
        UnfitError: the text is empty, has no JSON object in it, or none that fits.
    """
    spoken, _ = apart(text)
    if not spoken.strip():
        raise UnfitError("it is empty")
    if reply_type is Prose:
        return reply_type.model_validate({"text": spoken})
    found = _objects(spoken, reply_type)
    if not found:
        raise UnfitError("there is no JSON object in it")
    for fields in reversed(found):
        try:
            return reply_type.model_validate(fields)
        except ValidationError:
            continue
    fullest = max(found, key=lambda fields: len(reply_type.model_fields.keys() & fields.keys()))
    try:
        return reply_type.model_validate(_shortened(fullest, reply_type) if shorten else fullest)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UnfitError("; ".join(wrong)) from None


def _objects(text: str, reply_type: type[Record]) -> list[dict[str, Any]]:
    """Every JSON object in a text, wrapped in whatever else, but none within a reply."""
    decoder = json.JSONDecoder(parse_constant=_no_number)
    needed = {name for name, field in reply_type.model_fields.items() if field.is_required()}
    found, end = [], 0
    for brace in re.finditer(r"\{", text):
        if brace.start() < end:
            continue
        try:
            fields, after = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        found.append(fields)
        end = after if needed <= fields.keys() else end
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _shortened(fields: dict[str, Any], reply_type: type[Record]) -> dict[str, Any]:
    """The same fields, with each string cut to the maximum length that the record allows."""
    schema = reply_type.model_json_schema()["properties"]
    longest = {name: field.get("maxLength") for name, field in schema.items()}
    return {
        name: at_most(value, limit)
        if isinstance(value, str) and (limit := longest.get(name)) and len(value) > limit
        else value
        for name, value in fields.items()
    }
