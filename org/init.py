"""A new organization to edit: everything that a person may change, copied into a folder of its own."""

from __future__ import annotations

from pathlib import Path

from org.config import schema_text
from org.config_reading import load_config

# The organization that this project starts from, at the top of its tree.
STARTING_POINT = Path(__file__).parent.parent / "org.yaml"


class InitError(Exception):
    """No organization can be written there; the message says why in one line."""


def write_organization(folder: Path) -> tuple[Path, ...]:
    """Write org.yaml, its schema, program.md, train.py and the prompts into a folder.

    The copies stand beside each other: prompts in ``prompts/``, and nothing is named like a
    package, so that ``python -m org`` may be called from within the folder. Returns the files.

    Raises:
        InitError: one of the files is there already (then none is written), or cannot be written.
    """
    try:
        texts = {folder / name: text for name, text in _texts().items()}
        there = [path.name for path in texts if path.exists()]
        if there:
            raise InitError(f"{folder} has {', '.join(there)} already; nothing was written")
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InitError(f"{error.filename}: {error.strerror}") from None
    return tuple(texts)


def _texts() -> dict[str, str]:
    """The files of a new organization by their path in its folder."""
    config = load_config(STARTING_POINT, to_run=False)
    moved = {config.program: "program.md", config.train: "train.py"}
    moved |= {role.prompt: f"prompts/{role.prompt.name}" for role in config.roles.everyone}
    organization = STARTING_POINT.read_text(encoding="utf-8")
    texts = {"org.schema.json": schema_text()}
    for path, name in moved.items():
        if path.is_relative_to(STARTING_POINT.parent):  # Any other path is as good from elsewhere.
            before = path.relative_to(STARTING_POINT.parent).as_posix()
            # As wide as before, so that the comments beside it stay in their column.
            organization = organization.replace(f": {before}", f": {name}".ljust(len(before) + 2))
            texts[name] = path.read_text(encoding="utf-8")
    return {"org.yaml": organization, **texts}
