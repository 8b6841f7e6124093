"""Every file in tests/attacks is a real attempt to cheat or to escape; none gains a bit per byte."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.scene import ATTACKS, DAEMON_SECONDS, SECRET, Attack, Scene, staged
from trainer import sandbox
from trainer.dataset import Dataset
from trainer.setting import Setting


def walls() -> bool:
    try:
        return bool(sandbox.find_wall())
    except sandbox.NoWall:
        return False


pytestmark = pytest.mark.skipif(not walls(), reason="no wall can be had on this machine")


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, tiny_setting: Setting, tiny_dataset: Dataset
) -> Iterator[Scene]:
    with staged(tmp_path_factory.mktemp("scene"), tiny_setting, tiny_dataset) as scene:
        yield scene


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_an_attack_comes_to_the_outcome_that_it_names_and_gains_nothing(path, scene):
    attack = Attack.read(path)
    trial = scene.trial(attack.text, attack.name)

    assert attack.comes_to(trial), trial.reason
    assert trial.val_bpb is None or trial.val_bpb >= scene.uniform.val_bpb - 1e-6
    assert attack.is_scored == (trial.val_bpb is not None)
    left = [each for each in (scene.folder / "trials" / path.stem).rglob("*") if each.is_file()]
    assert not any(SECRET in each.read_text(errors="replace") for each in left)
    assert sum(each.stat().st_size for each in left) < 64 << 20
    assert "\x1b" not in trial.log_tail
    assert scene.notebook.read_text() == "a verdict"
    assert not (scene.folder / "exploded").exists()
    assert not (scene.folder / "checkpoint.pt").exists()
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if DAEMON_SECONDS in (p.info["cmdline"] or [])
    ]


def test_a_later_trial_finds_nothing_of_an_earlier_one(scene):
    (path,) = [path for path in ATTACKS if path.stem == "reuse_a_checkpoint"]
    attack = Attack.read(path)
    assert all(attack.comes_to(scene.trial(attack.text, f"{turn}-th")) for turn in (1, 2))


def test_there_are_attacks_of_every_kind():
    kinds = {Attack.read(path).held_by for path in ATTACKS}
    assert kinds == {"scorer", "challenge", "clock", "channel", "wall", "bounds", "reading"}
    assert len(ATTACKS) >= 25
