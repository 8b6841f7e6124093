"""The notebook for other programs: what autoresearch reads, and all there is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import get_args

import pytest

from org.notebook import Notebook
from org.schema import TABLES
from org.telling import export as exporting
from org.telling.export import Format
from tests.notebooks import BASELINE, NASTY_TITLE, NASTY_TITLE_AS_SEEN, PROGRAM
from trainer.source import source_sha


def export(notebook: Notebook, form: Format) -> str:
    return "".join(exporting.export(notebook, form))


@pytest.fixture
def notebook(told_night: Notebook) -> Notebook:
    return told_night


def test_the_tsv_is_what_autoresearch_keeps(notebook: Notebook) -> None:
    wide = source_sha(BASELINE.replace("0.02", "0.04").replace("64", "128"))
    narrow = source_sha(BASELINE.replace("0.02", "0.04").replace("64", "32"))
    stacked = source_sha(BASELINE.replace("0.02", "0.04").replace("0.0\n", "0.1\n"))
    broken = source_sha(BASELINE.replace("0.02", "0.04").replace("0.0\n", "5 / 0\n"))
    rows = [
        ("commit", "val_bpb", "memory_gb", "status", "description"),
        ("0000000", "1.241200", "1.5", "keep", "baseline"),
        ("0000000", "1.230100", "1.5", "keep", "Double the matrix learning rate"),
        (wide[:7], "1.253300", "1.5", "discard", NASTY_TITLE_AS_SEEN),
        (broken[:7], "0.000000", "0.0", "crash", "Warm up over the first 5 % of the budget"),
        (narrow[:7], "1.229900", "1.5", "discard", "Halve the width"),
        (stacked[:7], "1.228500", "1.5", "keep", "Warm up a little"),
    ]
    assert export(notebook, "tsv") == "".join("\t".join(row) + "\n" for row in rows)


def test_a_tsv_line_of_a_kept_change_begins_with_its_commit(notebook: Notebook) -> None:
    commits = [f"{number}abcdef{'0' * 33}" for number in (1, 2)]
    with notebook.transaction() as db:
        db.table("incumbents").update(1, {"commit_sha": commits[0]})
        db.table("stack").update(1, {"commit_sha": commits[1]})
    lines = export(notebook, "tsv").splitlines()
    assert [line.split("\t")[0] for line in lines[1:3]] == ["1abcdef", "2abcdef"]


def test_the_csv_has_a_line_for_each_experiment_with_all_its_columns(notebook: Notebook) -> None:
    rows = list(csv.DictReader(io.StringIO(export(notebook, "csv"))))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7"]
    decisions = ["keep", "discard", "crash", "discard", "dropped", "provisional", ""]
    assert [row["decision"] for row in rows] == decisions
    assert set(TABLES["experiments"][0]) < set(rows[0])
    first, _, crash, *_ = rows
    assert float(first["effect"]) == pytest.approx(-0.0111)
    assert float(first["error"]) == pytest.approx(0.0036, abs=1e-4)
    assert (first["val_bpb"], first["known_dollars"]) == ("1.2301", "0.05")
    assert first["replies_of_unknown_price"] == "1"
    assert (crash["val_bpb"], crash["error"]) == ("", "")


def test_the_json_has_every_record_as_it_is(notebook: Notebook) -> None:
    everything = json.loads(export(notebook, "json"))
    kept, nasty, crash, *_ = everything["experiments"]
    assert nasty["title"] == NASTY_TITLE
    assert kept["hypothesis"]["expected_effect"] == -0.005
    assert kept["patch"]["edits"][0]["replace"] == "learning_rate = 0.04"
    assert [trial["purpose"] for trial in kept["trials"]] == ["candidate"]
    assert [trial["val_bpb"] for trial in kept["trials"]] == [1.2301]
    assert crash["trials"][0]["outcome"] == "crashed"
    purposes = [trial["purpose"] for trial in everything["trials_of_no_experiment"]]
    assert purposes == [*["baseline"] * 3, *["certify"] * 10]
    passed, failed = everything["certifications"]
    assert (passed["says"], passed["effect"]["seeds"]) == ("pass", 3)
    assert (failed["says"], failed["effect"]["kind"]) == ("fail", "not certified")
    standings = [change["standing"] for change in everything["stack"]]
    assert standings == ["keep", "dropped", "provisional"]
    assert everything["expected"]["kind"] == "provisional"
    assert [one["experiment"] for one in everything["incumbents"]] == [None, kept["id"]]
    assert everything["improvement"]["bpb"] == pytest.approx(-0.0095, abs=1e-4)
    assert kept["program_sha"] == source_sha(PROGRAM)


def test_the_json_has_no_org_yaml_for_it_may_hold_addresses_and_paths(notebook: Notebook) -> None:
    with notebook.transaction() as db:
        db.execute("""update runs set org_yaml = '{"base_url": "http://me:secret@host"}'""")
    assert "secret" not in export(notebook, "json")


def test_the_markdown_is_a_table_in_which_a_title_means_nothing(notebook: Notebook) -> None:
    lines = export(notebook, "md").splitlines()
    table = lines[: lines.index("")]
    cells = {line.replace("\\|", "").count("|") for line in table}
    assert cells == {10}
    assert len(table) == 2 + 1 + 7
    assert r"Double the \[red\]width\[/red\] \| now \<b\>bold\</b\>" in table[4]
    assert "−0.0111 ± 0.0036" in table[3]
    said = [line for line in lines[len(table) :] if line]
    assert said[0].startswith("Proven gain: −0.0094 ± 0.0006 (certified, 3 seeds) bpb")
    assert said[1].startswith("On the stack: 1 change, −0.0016 ± 0.0014 (provisional")
    assert [line.split(":")[0] for line in said[2:4]] == [
        *("Certification 1 passed", "Certification 2 failed")
    ]
    assert lines[-1].endswith("cost ≥$0.31")


@pytest.mark.parametrize("form", get_args(Format))
def test_nothing_that_is_exported_can_move_a_terminal(notebook: Notebook, form: Format) -> None:
    text = export(notebook, form)
    assert text.endswith("\n")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text if c not in "\n\t")


@pytest.mark.parametrize("form", get_args(Format))
def test_an_empty_notebook_is_an_empty_table(tmp_path: Path, form: Format) -> None:
    notebook = Notebook(tmp_path / "empty.sqlite")
    text = export(notebook, form)
    notebook.close()
    if form == "json":
        assert json.loads(text)["experiments"] == []
    elif form == "md":
        assert "The baseline has not been measured yet." in text
    else:
        assert len(text.splitlines()) == 1
