"""A YAML text as plain data in which every value still knows the line it stands on."""

from __future__ import annotations

from typing import NamedTuple

import yaml

KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """A value and the line, counted from 1, of its key or of its entry in a list."""

    line: int
    value: object


class Problem(NamedTuple):
    """What is wrong in a file: at which line, under which key, in words a person can mend it by."""

    line: int
    path: KeyPath
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.line), dotted(self.path), self.text)))


class Document:
    """What a YAML text says: mappings as dict, sequences as tuple, and where each value stands.

    ``places`` has every key path of the text; the empty path is the whole. ``problems`` are those
    of the YAML itself: a text that cannot be read has one and no places; a key that stands twice
    is one that leaves the rest readable.
    """

    def __init__(self, text: str) -> None:
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.constructor.SafeConstructor()
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            reason = ", ".join(filter(None, (error.context, error.problem)))
            self.problems.append(Problem(line, (), f"this is not YAML: {reason}"))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self.problems.append(Problem(line, (), f"this is not YAML: {error.reason}"))
        else:
            self.places[()] = Place(1, None)
            if root is not None:
                self._read(root, (), 1, ())

    def _read(
        self, node: yaml.Node, path: KeyPath, line: int, around: tuple[yaml.Node, ...]
    ) -> object:
        value: object = None
        if node in around:
            self.problems.append(Problem(line, path, "an alias may not stand inside of itself"))
        elif isinstance(node, yaml.MappingNode):
            value = self._read_mapping(node, path, (*around, node))
        elif isinstance(node, yaml.SequenceNode):
            value = tuple(
                self._read(entry, (*path, index), entry.start_mark.line + 1, (*around, node))
                for index, entry in enumerate(node.value)
            )
        else:
            value = self._read_scalar(node, path, line)
        self.places[path] = Place(line, value)
        return value

    def _read_mapping(
        self, node: yaml.MappingNode, path: KeyPath, around: tuple[yaml.Node, ...]
    ) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                self.problems.append(Problem(line, path, "expected plain text before the colon"))
            elif key in mapping:
                first = self.places[*path, key].line
                text = f"this key stands here a second time, the first is in line {first}"
                self.problems.append(Problem(line, (*path, key), text))
            else:
                mapping[key] = self._read(value_node, (*path, key), line, around)
        return mapping

    def _read_scalar(self, node: yaml.Node, path: KeyPath, line: int) -> object:
        try:
            value: object = self._scalars.construct_object(node)
        except (yaml.MarkedYAMLError, ValueError) as error:
            reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
            self.problems.append(Problem(line, path, f"this value cannot be read: {reason}"))
            return None
        return value


def dotted(path: KeyPath) -> str:
    """A key path as a person writes it: ``roles.hypothesis[0].focus``."""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return words.removeprefix(".")
