"""What many tests share: a tiny prepared corpus, and the terms of a trial that takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from org.notebook import Notebook
from tests.notebooks import Night, short_night
from tests.organizations import (
    Gates,
    Organization,
    Organize,
    Start,
    killed_in_the_end,
    start_run,
    tiny_setting_on,
)
from tests.sources import SCRIPTED
from trainer.dataset import Dataset, build_dataset
from trainer.setting import Setting
from trainer.trial import run_trial


def pytest_configure() -> None:
    """One thread for torch in each worker: two with two each wait for one another, much longer."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# Modules whose whole organizations run in `make test-all` alone: `make test` has to take minutes.
LONG = {
    *("test_approval", "test_bench", "test_directing", "test_escape", "test_examples"),
    *("test_faults", "test_notes", "test_outage", "test_planted", "test_powers", "test_recorded"),
    *("test_repeating", "test_steering", "test_certifying", "test_undisturbed", "test_reference"),
    *(
        "test_desk",
        "test_claims",
        "test_meanwhile",
        "test_baseline",
        "test_devices",
        "test_terminal",
    ),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark as long what runs whole organizations in one of those modules, and is not quick."""
    for item in items:
        whole = item.path.stem in LONG and "organize" in item.fixturenames
        if whole and not item.get_closest_marker("quick"):
            item.add_marker("long")


@pytest.fixture(scope="session", autouse=True)
def own_devices(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The devices of tests are no real ones: neither other workers nor labs at work wait for them."""
    os.environ["AUTORESEARCH_ORG_DEVICES"] = str(tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="session", autouse=True)
def no_endpoint() -> Iterator[None]:
    """No test knows of the endpoint or the key of whoever runs it; a server here needs no proxy."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NO_PROXY", "127.0.0.1")
        patched.delenv("OPENAI_BASE_URL", raising=False)
        patched.delenv("OPENAI_API_KEY", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return tiny_setting_on(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def tiny_dataset(tiny_setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(tiny_setting, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def baseline_trials(
    tiny_setting: Setting, tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The trials of the baseline SCRIPTED, run once for all labs that begin from it."""
    folder = tmp_path_factory.mktemp("baseline")
    for seed in (1, 2):
        run_trial(
            SCRIPTED,
            seed=seed,
            setting=tiny_setting,
            dataset=tiny_dataset,
            device="cpu:0",
            folder=folder / f"baseline-{seed}",
            audit=True,
        )
    return folder


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    """A notebook with nothing in it."""
    with closing(Notebook(tmp_path / "notebook.sqlite")) as notebook:
        yield notebook


@pytest.fixture
def night(notebook: Notebook) -> Night:
    """A night on whose notebook there is a measured baseline."""
    night = Night(notebook)
    night.measure_baseline()
    return night


@pytest.fixture(scope="session")
def short_night_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook of a short night, written once for all tests that read one."""
    path = tmp_path_factory.mktemp("night") / "notebook.sqlite"
    short_night(path).close()
    return path


@pytest.fixture
def told_night(short_night_path: Path, tmp_path: Path) -> Iterator[Notebook]:
    """A copy of it, that a test may change."""
    with closing(Notebook(Path(shutil.copy(short_night_path, tmp_path)))) as notebook:
        yield notebook


@pytest.fixture
def organize(
    tiny_setting: Setting,
    tiny_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Organize:
    """Write an organization whose corpus is prepared already, and its baseline SCRIPTED measured."""
    monkeypatch.setenv("AUTORESEARCH_ORG_CACHE", str(tiny_dataset.folder.parent.parent))

    def written(**fields: Any) -> Organization:
        organization = Organization(tmp_path / "organization", tiny_setting, **fields)
        organization.write()
        if organization.source == SCRIPTED:
            organization.adopt_trials(request.getfixturevalue("baseline_trials"))
        return organization

    return written


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python -m org run` as a person would; what is left of it in the end is killed."""
    with killed_in_the_end(tmp_path) as started:

        def run(organization: Organization) -> subprocess.Popen[str]:
            process = start_run(
                organization, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            started.append(process)
            return process

        yield run
