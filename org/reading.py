"""A lab's notebook, opened to be read: also while a run goes on in another process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from org.config import load_config
from org.lab import LabError
from org.notebook import NOTEBOOK_FILE, Notebook


def folder_of(config_path: Path, folder: Path | None) -> Path:
    """The lab that is meant: in ``folder``, or else the one that org.yaml names. Raises ConfigError."""
    return folder or load_config(config_path, to_run=False).lab


@contextmanager
def reading(config_path: Path, folder: Path | None) -> Iterator[Notebook]:
    """The notebook of the lab in ``folder``, or else of the one that org.yaml names.

    Raises:
        ConfigError: org.yaml cannot be read, and no folder was given.
        LabError: there is no notebook yet.
    """
    folder = folder_of(config_path, folder)
    path = folder / NOTEBOOK_FILE
    if not path.exists():
        raise LabError(f"there is no notebook in {folder} yet; `python -m org run` begins one")
    notebook = Notebook(path)
    try:
        yield notebook
    finally:
        notebook.close()
