"""A new organization to edit: complete, in order, and nothing of the user's is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from org.config_reading import load_config
from org.init import InitError, write_organization

ROOT = Path(__file__).parent.parent


def test_a_new_organization_is_ready_to_run_and_says_what_the_starting_one_says(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine"
    write_organization(folder)
    mine, starting = load_config(folder / "org.yaml"), load_config(ROOT / "org.yaml")
    pairs = [(mine.program, starting.program), (mine.train, starting.train)]
    pairs += [
        (ours.prompt, theirs.prompt)
        for ours, theirs in zip(mine.roles.everyone, starting.roles.everyone, strict=True)
    ]
    for ours, theirs in pairs:
        assert ours.is_relative_to(folder)
        assert ours.read_bytes() == theirs.read_bytes()
    paths = {"program", "train", "lab", "roles"}
    assert mine.model_dump(exclude=paths) == starting.model_dump(exclude=paths)
    assert mine.lab.is_relative_to(folder)


def test_the_files_that_were_written_are_named(tmp_path: Path) -> None:
    written = write_organization(tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    assert {"org.yaml", "org.schema.json", "program.md", "train.py"} < names
    assert "prompts/director.md" in names


def test_the_comments_of_org_yaml_come_along(tmp_path: Path) -> None:
    write_organization(tmp_path)
    lines = (tmp_path / "org.yaml").read_text().splitlines()
    starting = (ROOT / "org.yaml").read_text().splitlines()
    assert len(lines) == len(starting)
    assert [line for line in lines if line.startswith("#")] == [
        line for line in starting if line.startswith("#")
    ]


def test_nothing_in_the_new_folder_hides_the_packages(tmp_path: Path) -> None:
    write_organization(tmp_path)
    imports = "import org.config, roles.records, trainer.setting; print(trainer.__file__)"
    done = subprocess.run(
        (sys.executable, "-c", imports), cwd=tmp_path, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()).parent == ROOT / "trainer", done.stderr


def test_what_is_there_already_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "program.md").write_text("mine")
    with pytest.raises(InitError, match=r"program\.md"):
        write_organization(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["program.md"]
    assert (tmp_path / "program.md").read_text() == "mine"


def test_a_folder_with_other_things_in_it_is_good_enough(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_organization(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InitError, match="file") as caught:
        write_organization(tmp_path / "file")
    assert "\n" not in str(caught.value)
