"""What has changed in train.py: from the baseline to the incumbent, or by one experiment."""

from __future__ import annotations

from rich.text import Text

from org.lab import LabError
from org.notebook import Experiment, Notebook
from org.plain import plain
from org.telling.results import numbered
from trainer.patch import diff

COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def changes(notebook: Notebook, number: int | None = None) -> str:
    """A unified diff, as ``git apply`` reads it: of experiment ``number``, or of all that was kept.

    It is exact, whatever the source contains: put it through `coloured` for a terminal. Empty
    where nothing was kept, or the experiment has no patch that fits.

    Raises:
        LabError: there is no such experiment, or no baseline yet.
    """
    if number is not None:
        return changed_by(notebook, numbered(notebook, number))
    incumbents = notebook.incumbents()
    if not incumbents:
        raise LabError("the baseline of this lab has not been measured yet")
    before, after = incumbents[0].source_sha, incumbents[-1].source_sha
    return diff(notebook.source(before), notebook.source(after))


def changed_by(notebook: Notebook, experiment: Experiment) -> str:
    """The diff of one experiment's patch against the head that it was put on; "" for none."""
    if experiment.candidate_sha is None or experiment.head_sha is None:
        return ""
    return diff(notebook.source(experiment.head_sha), notebook.source(experiment.candidate_sha))


def coloured(unified_diff: str) -> Text:
    """A diff for a terminal: what comes is green, what goes is red."""
    text = Text(overflow="fold")
    for line in unified_diff.split("\n"):
        heading = line.startswith(("---", "+++"))
        style = "dim" if heading else COLOURS.get(line[:1], "")
        text.append(f"{plain(line)}\n", style)
    text.rstrip()
    return text
