"""A lab's notebook, opened to be read: also while a run goes on in another process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from org import schema
from org.config_reading import load_config
from org.lab import LabError
from org.notebook import NOTEBOOK_FILE, Notebook, is_lab
from org.trouble import telling_trouble


def folder_of(config_path: Path, folder: Path | None) -> Path:
    """The lab that is meant: in ``folder``, or else the one that org.yaml names. Raises ConfigError."""
    return folder or load_config(config_path, to_run=False).lab


@contextmanager
def reading(config_path: Path, folder: Path | None, *, writing: bool = False) -> Iterator[Notebook]:
    """The notebook of the lab in ``folder``, or else of the one that org.yaml names.

    Unless ``writing`` it can be read only, also while another program has locked it to write.

    Raises:
        ConfigError: org.yaml cannot be read, and no folder was given.
        LabError: there is no notebook yet, or it cannot be had: see `telling_trouble`.
    """
    folder = folder_of(config_path, folder)
    if not is_lab(folder):
        raise LabError(f"there is no notebook in {folder} yet; `python -m org run` begins one")
    with telling_trouble(folder), closing(_opened(folder / NOTEBOOK_FILE, writing)) as notebook:
        yield notebook


def _opened(path: Path, writing: bool) -> Notebook:
    """The notebook; one of an earlier version is brought up to date first, which is to write."""
    if not writing:
        notebook = Notebook(path, read_only=True)
        if schema.is_up_to_date(notebook.db):
            return notebook
        notebook.close()
    return Notebook(path)
