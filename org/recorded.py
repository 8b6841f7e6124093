"""A lab's recorded replies, handed to the model that gives them again in another lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from org.briefs import brief_text
from org.lab import Lab, LabError
from org.notebook import NOTEBOOK_FILE, Notebook, is_lab
from roles.recorded import Recorded, RecordedModel

# All answers of models, in order. What failed and was asked again later, or is to be, is left out:
# it has no part in how the experiment went on.
ANSWERS = """
    select m.speaker as role, e.number as experiment, coalesce(m.brief_sha, '') as brief_sha, m.text,
        m.reply_json, m.thinking
    from messages m join experiments e on e.id = m.experiment
    where m.model is not null and (m.reply_json is not null or e.decision is not null
        and not exists (select 1 from messages a
            where a.id = substr(m.id, 1, instr(m.id, '/failed at ') - 1)))
    order by m.number"""


def recorded_model(folder: Path, say: Callable[[str], None] = lambda text: None) -> RecordedModel:
    """The model that answers as the lab in ``folder`` has recorded it.

    Raises:
        LabError: there is no lab, or nothing was said in it yet.
    """
    if not is_lab(folder):
        raise LabError(f"there is no lab to replay in {folder}: it has no {NOTEBOOK_FILE}")
    path = folder / NOTEBOOK_FILE

    def brief_of(sha: str) -> str | None:
        with closing(Notebook(path)) as notebook:
            return brief_text(notebook, sha)

    with closing(Notebook(path)) as notebook:
        replies = [
            Recorded(**{**row, "thinking": row["thinking"] or ""}) for row in notebook.rows(ANSWERS)
        ]
    if not replies:
        raise LabError(f"there is nothing to replay in {folder}: no model has said anything there")
    return RecordedModel(replies, f"replay:{folder}", brief_of, say)


def recorded_models(lab: Lab) -> list[RecordedModel]:
    """Those of a lab, each once."""
    found = {id(each): each for each in lab.models.values() if isinstance(each, RecordedModel)}
    return list(found.values())


def go_on_replaying(lab: Lab) -> None:
    """Let a replay go on after the replies that this lab has of it already."""
    for model in recorded_models(lab):
        for given in _given(lab.notebook, model.name):
            model.resume(given, brief_text(lab.notebook, given.brief_sha) or "")


def _given(notebook: Notebook, name: str) -> Iterator[Recorded]:
    rows = notebook.rows(
        "select m.speaker as role, e.number as experiment, coalesce(m.brief_sha, '') as brief_sha,"
        " m.text, m.reply_json from messages m join experiments e on e.id = m.experiment"
        " where m.model = :name order by m.number",
        {"name": name},
    )
    for row in rows:
        yield Recorded(**row)
