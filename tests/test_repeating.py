"""Where the noise comes from: what is repeated, found again, and told."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from org.cli import main
from org.config_reading import load_config
from org.lab import LabError
from org.repeating import Series, all_series, histogram, repeat, report
from tests.organizations import Organization
from tests.sources import SCRIPTED
from trainer.trial import Trial

# Its score depends on the seed and, since it counts what it is given, on the order of the text.
SEEDED = SCRIPTED.replace("GAIN = 0.0", "GAIN = prepare.setting().seed / 100")


def scored(*scores: float) -> list[Trial]:
    return [
        Trial(source_sha="s", seed=1, device="cpu:0", outcome="completed", val_bpb=bpb, steps=100)
        for bpb in scores
    ]


def filled(*scores: tuple[float, ...]) -> list[Series]:
    series = all_series()
    for one, of_one in zip(series, scores, strict=True):
        one.trials.extend(scored(*of_one))
    return series


def test_each_series_changes_what_it_says_and_nothing_else():
    machine, order, weights, both = all_series()
    assert {machine.seeds(number) for number in (1, 2, 3)} == {(1, 1)}
    assert [order.seeds(number) for number in (1, 2)] == [(1, 1), (1, 2)]
    assert [weights.seeds(number) for number in (1, 2)] == [(1, 1), (2, 1)]
    assert [both.seeds(number) for number in (1, 2)] == [(1, 1), (2, 2)]


def test_the_variance_is_told_by_its_causes():
    series = filled((1.0, 1.0), (1.0, 1.03), (1.0, 1.04), (1.0, 1.05))
    text = "\n".join(report(series))
    assert "the machine: 0% (0.0000 bpb)" in text
    assert "the order of the text: 36% (0.0212 bpb)" in text
    assert "the first weights: 64% (0.0283 bpb)" in text


def test_a_histogram_reaches_from_the_best_to_the_worst():
    (line,) = histogram([1.0, 1.0, 1.0, 2.0])
    assert line.startswith("1.0000 █")
    assert "▃ 2.0000" in line
    assert list(histogram([1.5, 1.5])) == ["1.5000 █            1.5000  (val_bpb over 2 seeds)"]


def test_the_baseline_is_repeated_for_real_and_what_ran_before_is_found_again(organize):
    organization: Organization = organize(source=SEEDED)
    command = ["noise", "--config", str(organization.config_path), "--runs", "2"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "of the variance over seeds, the machine: 0% (0.0000 bpb)" in done.output
    assert "(val_bpb over 2 seeds)" in done.output
    trials = list((organization.lab / "noise").glob("*/trial.json"))
    began = {path: path.stat().st_mtime_ns for path in trials}
    assert len(began) == 8
    again = repeat(load_config(organization.config_path), organization.lab, 2, lambda text: None)
    assert [len(one.scores) for one in again] == [2] * 4
    assert {path: path.stat().st_mtime_ns for path in trials} == began


def test_a_baseline_that_crashes_is_said(organize):
    organization: Organization = organize(source="raise ValueError('no')\n")
    with pytest.raises(LabError, match="the baseline crashed: ValueError: no"):
        repeat(load_config(organization.config_path), organization.lab, 2, lambda text: None)
