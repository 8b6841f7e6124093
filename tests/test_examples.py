"""The organizations in examples/ are ready to run, drawn as they are, and the large one really works."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from org.cli import main
from org.config import Config
from org.config_reading import load_config
from org.graph import build_chart
from org.telling.drawing import edges, mermaid, text
from tests.organizations import Organize, work
from tests.sources import SCRIPTED

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/org.yaml"))

# A train.py of few lines with enough to turn for two desks.
FOUR_KNOBS = SCRIPTED.replace(
    "GAIN = 0.0\n", "GAIN = 0.5\nLIFT = 0.5\nPULL = 0.25\nHOLD = 0.75\n"
).replace("GAIN * likely", "(GAIN + LIFT + PULL + HOLD) * likely")


def example(name: str) -> Config:
    return load_config(ROOT / "examples" / name / "org.yaml")


def test_there_are_a_small_one_the_default_and_a_large_one_and_the_index_names_them():
    assert EXAMPLES == ["default", "large", "solo"]
    index = (ROOT / "examples" / "README.md").read_text()
    assert all(f"[{name}]({name})" in index for name in EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_ready_to_run_without_a_key_and_says_when_to_take_it(name: str):
    config = example(name)
    assert {config.model_of(role).name for role in config.roles.everyone} == {"playbook"}
    assert config.lab.resolve().parent == ROOT / "labs"
    first_line, *_ = (ROOT / "examples" / name / "org.yaml").read_text().splitlines()
    assert first_line.endswith("$schema=../../org.schema.json")
    readme = (ROOT / "examples" / name / "README.md").read_text()
    assert f"--config examples/{name}/org.yaml" in readme
    assert "Take it" in readme


def test_each_has_a_lab_of_its_own():
    assert len({example(name).lab.resolve() for name in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_drawn_as_it_runs(name: str):
    config = example(name)
    graph = build_chart(config.roles).get_graph()
    drawn = {(here, there) for here, _, there in edges(config)}
    assert drawn == {(edge.source, edge.target) for edge in graph.edges}
    result = CliRunner().invoke(main, ["graph", "--config", f"{ROOT}/examples/{name}/org.yaml"])
    assert result.exit_code == 0
    for role in config.roles.everyone:
        assert role.name in mermaid(config)
        assert role.name in text(config)
        assert role.name in result.output


def test_the_default_example_is_the_default_organization():
    def resolved(config: Config) -> dict[str, object]:
        told = config.model_dump(mode="json", exclude={"lab"})
        for role in (*told["roles"]["hypothesis"], *told["roles"].values(), told):
            for key in ("prompt", "program", "train"):
                if isinstance(role, dict) and key in role:
                    role[key] = str(Path(role[key]).resolve())
        return told

    assert resolved(example("default")) == resolved(load_config(ROOT / "org.yaml"))


def test_solo_is_one_mind_in_four_roles():
    roles = example("solo").roles
    assert len(roles.everyone) == 4
    assert len({role.prompt for role in roles.everyone}) == 1


def test_the_large_one_works_with_all_its_people_on_both_desks(organize: Organize):
    organization = organize(model="playbook", source=FOUR_KNOBS)
    folder = ROOT / "examples" / "large"
    said = yaml.safe_load((folder / "org.yaml").read_text())
    here = yaml.safe_load(organization.config_path.read_text())
    said |= {key: here[key] for key in ("program", "train", "lab", "trial")}
    said |= {"devices": ["cpu:0", "cpu:1"], "budget": {"experiments": 4}}
    said["review"] |= {"baseline_runs": 2, "max_seeds": 2}
    roles = said["roles"]
    several = (*roles["hypothesis"], *roles["reviewer"], *roles["advisers"])
    for role in (roles["director"], roles["engineer"], *several):
        role["prompt"] = str(folder / role["prompt"])
    organization.config_path.write_text(yaml.safe_dump(said))
    worked = work(organization)
    assert worked.reasons == []
    with organization.notebook() as notebook:
        done = notebook.experiments()
        assert {each.desk for each in done} == {"desk 1", "desk 2"}
        assert all(each.decision for each in done)
        for each in done:
            spoke = Counter((m.speaker, m.kind) for m in notebook.messages(each.id))
            screenings = {
                who: n for (who, kind), n in spoke.items() if kind == "screen" and who != "lab"
            }
            assert spoke["historian", "advise"] >= 1
            assert spoke["skeptic", "advise"] >= 1
            assert set(screenings) <= {"examiner", "mechanic", "auditor"}
            assert len(set(screenings.values())) <= 1
            assert spoke["examiner", "review"] >= 1  # again where the head has moved since
        everyone = {m.speaker for each in done for m in notebook.messages(each.id)}
    assert {"examiner", "mechanic", "auditor", "historian", "skeptic"} <= everyone
