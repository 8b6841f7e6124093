"""What a person reads of a notebook: the table, one experiment, words found, what changed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from org.lab import LabError
from org.notebook import Notebook
from org.plain import one_line, plain
from org.telling.changes import changes, coloured
from org.telling.dossier import one_experiment
from org.telling.reports import experiments_report
from org.telling.results import read_results
from org.telling.search import HITS, found
from roles.records import Verdict
from tests.notebooks import BASELINE, NASTY_TITLE, NASTY_TITLE_AS_SEEN, Night
from trainer.patch import Edit, Patch, apply_patch


@pytest.fixture
def notebook(told_night: Notebook) -> Notebook:
    return told_night


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path / "empty.sqlite")
    yield notebook
    notebook.close()


def shown(what: RenderableType, width: int = 120, *, colours: bool = False) -> str:
    """What a terminal of so many columns shows, without the blanks at the ends of lines."""
    file = io.StringIO()
    system = "standard" if colours else None
    Console(file=file, width=width, force_terminal=colours, color_system=system).print(what)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def line_with(text: str, words: str) -> str:
    return next(line for line in text.splitlines() if words in line)


# --- the table --------------------------------------------------------------------------------


def test_every_experiment_has_a_line_after_the_baseline(notebook: Notebook) -> None:
    told = shown(experiments_report(notebook))
    at = [
        told.index(words)
        for words in (
            "baseline",
            "1  Double the matrix learning rate",
            "2  Double the",
            "3  Warm up",
            "4  Widen",
            "5  Halve",
            "6  Warm up",
            "7  Decay",
        )
    ]
    assert at == sorted(at)
    assert line_with(told, "1  Double").split()[-8:] == [
        *("keep", "−0.0111", "±", "0.0036", "1.2301", "1", "0.5", "≥$0.05")
    ]


def test_an_effect_is_that_of_the_verdict_with_its_standard_error(notebook: Notebook) -> None:
    told = shown(experiments_report(notebook))
    for result in read_results(notebook).experiments[:2]:
        assert result.effect in (result.experiment.reason or "")
        assert result.effect in told


def test_without_a_verdict_from_trials_there_is_no_effect(notebook: Notebook) -> None:
    told = shown(experiments_report(notebook))
    for words in ("3  Warm up", "4  Widen", "7  Decay"):
        assert "±" not in line_with(told, words)
        assert "0.0000" not in line_with(told, words)


def test_the_end_says_what_all_of_it_came_to(notebook: Notebook) -> None:
    told = shown(experiments_report(notebook), 160)
    assert told.partition("\n\n")[2].splitlines() == [
        "Certification 1 passed: 1 change, −0.0094 ± 0.0006 (certified, 3 seeds) bpb,"
        " better on fresh seeds (end of the run)",
        "Certification 2 failed: 1 change, +0.0007 ± 0.0007 (not certified, 2 seeds) bpb,"
        " no better on fresh seeds (end of the run)",
        "On the stack: 1 change, −0.0016 ± 0.0014 (provisional, 1 seed) bpb expected",
        "Proven gain: −0.0094 ± 0.0006 (certified, 3 seeds) bpb, 1.2412 → 1.2318, −0.8 %",
        "7 experiments: 1 kept, 1 provisional, 1 dropped, 2 discarded, 1 crashed, 1 open",
        "18 trials · 9 min · cost ≥$0.31 · 7 min of device time",
    ]


def test_what_is_on_the_stack_is_no_part_of_the_gain(notebook: Notebook) -> None:
    before = read_results(notebook)
    with notebook.transaction() as db:
        db.execute("update stack set expected_bpb = 10 * expected_bpb")
    after = read_results(notebook)
    assert before.expected is not None and after.expected is not None
    assert after.expected.bpb == pytest.approx(10 * before.expected.bpb)
    assert after.improvement == before.improvement


def test_what_passed_is_told_without_its_luck_and_what_failed_as_it_was_measured(
    notebook: Notebook,
) -> None:
    passed, failed = read_results(notebook).certified
    assert passed.effect and passed.certification.effect and failed.effect
    assert passed.certification.effect.bpb < passed.effect.bpb < 0
    assert failed.effect == failed.certification.effect
    assert (passed.effect.kind, failed.effect.kind) == ("certified", "not certified")


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_not_proven_has_another_colour_than_what_is(notebook: Notebook, width: int) -> None:
    told = shown(experiments_report(notebook), width, colours=True)
    assert "\x1b[32m−0.0111 ± 0.0036" in told and "\x1b[33m−0.0029 ± 0.0014" in told
    assert "\x1b[33mOn the stack" in told and "\x1b[1;32mProven gain" in told


def test_the_end_stands_in_whole_lines_on_a_terminal_of_80_columns(notebook: Notebook) -> None:
    ends = [shown(experiments_report(notebook), width).splitlines()[-4:] for width in (80, 200)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_nothing_is_lost_in_a_narrower_terminal(notebook: Notebook, width: int) -> None:
    told = shown(experiments_report(notebook), width)
    assert max(map(len, told.splitlines())) <= width
    for words in ("−0.0111 ± 0.0036", "1.2301", "provisional", "architecture", "≥$0.05", "0.5"):
        assert words in told


def test_what_cost_nothing_says_so_once_and_unknown_is_never_zero(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "notebook.sqlite")
    Night(notebook).measure_baseline()
    told = shown(experiments_report(notebook))
    assert told.endswith("0 experiments\n3 trials · 0 s · cost $0 · 72 s of device time")
    assert "cost" not in told.splitlines()[0]
    assert "Nothing is certified yet" in told
    notebook.close()


def test_a_reply_of_unknown_price_makes_the_cost_unknown(notebook: Notebook) -> None:
    with notebook.transaction() as db:
        db.execute("update messages set dollars = null")
    told = shown(experiments_report(notebook))
    assert line_with(told, "7  Decay").endswith("unknown")
    assert "· cost unknown ·" in told.splitlines()[-1]


def test_an_empty_notebook_is_one_clear_line(empty: Notebook) -> None:
    assert shown(experiments_report(empty)) == "The baseline has not been measured yet."


def test_baseline_trials_without_a_baseline_are_accounted_for(notebook: Notebook) -> None:
    with notebook.transaction() as db:
        db.execute("delete from messages")
        db.execute("delete from spans")
        for table in ("incumbents", "stack", "certifications"):
            db.execute(f"delete from {table}")
        db.execute("delete from trials where purpose = 'certify'")
        db.execute("delete from trials where experiment is not null")
        db.execute("delete from experiments")
    told = shown(experiments_report(notebook))
    assert "The baseline has not been measured yet." in told
    assert "3 trials" in told


@pytest.mark.parametrize("width", [80, 120])
def test_the_decision_has_the_colour_that_it_has_everywhere(notebook: Notebook, width: int) -> None:
    told = shown(experiments_report(notebook), width, colours=True)
    assert "\x1b[32mkeep" in told
    assert "\x1b[31mcrash" in told


# --- texts of others --------------------------------------------------------------------------


def test_a_title_is_shown_and_nothing_in_it_obeyed(notebook: Notebook) -> None:
    for told in (
        shown(experiments_report(notebook), 200),
        shown(one_experiment(notebook, 2), 200),
        shown(found(notebook, "bold"), 200),
    ):
        assert NASTY_TITLE_AS_SEEN in told
        assert "owned" not in told
        assert not any(ord(character) < 32 for character in told.replace("\n", ""))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31;1mb\x1b[0m", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x9b31mb", "ab"),
        ("a\x1b", "a"),
        ("a\x1b]unfinished", "aunfinished"),
        ("10 %\r20 %\r\nend", "10 %\n20 %\nend"),
        ("a\x08\x00\x7fb", "ab"),
        ("evil\u202eexe.txt\u200b", "evilexe.txt"),
        ("naïve − 5 % ≥ 日本\n", "naïve − 5 % ≥ 日本\n"),
    ],
)
def test_plain_text_has_what_a_person_reads_and_nothing_that_a_terminal_obeys(
    text: str, seen: str
) -> None:
    assert plain(text) == seen


def test_one_line_is_one_line() -> None:
    assert one_line(NASTY_TITLE + "\r\n\u2028and\x0bmore") == f"{NASTY_TITLE_AS_SEEN} and more"


# --- one experiment ---------------------------------------------------------------------------


def test_a_kept_experiment_shows_everything_from_direction_to_lesson(notebook: Notebook) -> None:
    told = shown(one_experiment(notebook, 1), 200)
    for words in (
        "Experiment 1: Double the matrix learning rate",
        "keep · optimizer · desk 1",
        "what the last results left open",
        "Change one number of train.py.",
        "Larger steps cross flat regions sooner.",
        "−0.0050 bpb",
        "−0.0111 ± 0.0036 bpb (single run, against the head of its day)",
        "reviewer: Approved: One change, and a cheap one.",
        "better than the head on its one run",
        "The rate was too timid.",
        "version 1 of 1 of program.md",
        "-learning_rate = 0.02",
        "+learning_rate = 0.04",
    ):
        assert words in told
    assert "1.2301    412    20.0 s  24.0 s  1.5 GB" in line_with(told, "candidate  completed")
    assert "412 steps" in line_with(told, "candidate 3")
    unwrapped = " ".join(told.split())
    assert (
        "Certification 1: better on fresh seeds −0.0094 ± 0.0006 (certified, 3 seeds)" in unwrapped
    )
    assert "MFU unknown" in unwrapped and "The trial's own word: steps," in unwrapped


def test_what_was_cut_shows_what_cut_it(notebook: Notebook) -> None:
    told = " ".join(shown(one_experiment(notebook, 5)).split())
    assert "dropped · efficiency" in told
    assert "verdict dropped: −0.0017 ± 0.0017 (single run): better than the head" in told
    assert "Certification 2: no better on fresh seeds +0.0007 ± 0.0007 (not certified" in told


def test_what_is_on_the_stack_shows_what_is_left_of_its_effect_without_luck(
    notebook: Notebook,
) -> None:
    told = " ".join(shown(one_experiment(notebook, 6)).split())
    assert "provisional · schedule" in told
    assert "−0.0029 ± 0.0014 bpb (single run, against the head of its day)" in told
    assert "without its luck −0.0016 ± 0.0014" in told
    assert "ertif" not in told


def test_a_crash_shows_its_reason_and_the_end_of_its_log_quoted(notebook: Notebook) -> None:
    told = shown(one_experiment(notebook, 3), 80)
    assert "\n  ZeroDivisionError: division by zero\n" in told
    assert '\n  │   File "train.py", line 3\n  │ ZeroDivisionError' in told


def test_a_duplicate_says_of_which_experiment(notebook: Notebook) -> None:
    told = shown(one_experiment(notebook, 4), 200)
    assert "experiment 2 ran the same program" in line_with(told, "screening")
    assert "trials\n" not in told


def test_an_open_experiment_shows_what_there_is(notebook: Notebook) -> None:
    told = shown(one_experiment(notebook, 7))
    assert "open · regularisation · desk 2" in told
    for word in ("measured", "verdict", "patch", "lesson"):
        assert f"\n{word}" not in told


def test_an_experiment_that_has_only_begun_can_be_shown(notebook: Notebook) -> None:
    notebook.reserve_experiment("20260501-220000", "desk 3", None)
    assert "Experiment 8: (no hypothesis)" in shown(one_experiment(notebook, 8))


def test_the_program_version_is_the_one_that_was_in_force(notebook: Notebook) -> None:
    notebook.keep_program("Something else.")
    assert "version 1 of 2 of program.md" in shown(one_experiment(notebook, 1))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_one_experiment_fits_the_terminal(notebook: Notebook, width: int) -> None:
    for number in range(1, 8):
        told = shown(one_experiment(notebook, number), width)
        assert max(map(len, told.splitlines())) <= width


@pytest.mark.parametrize("tell", [one_experiment, changes])
def test_an_unknown_number_is_one_clear_line(notebook: Notebook, tell) -> None:
    with pytest.raises(LabError, match=r"^the notebook has no experiment 9; the last one is 7$"):
        tell(notebook, 9)


# --- words ------------------------------------------------------------------------------------


def test_words_are_found_in_experiments_and_in_what_was_said(notebook: Notebook) -> None:
    told = shown(found(notebook, "timid"))
    assert line_with(told, "experiment").split()[:2] == ["1", "experiment"]
    assert line_with(told, "reviewer").startswith("1  reviewer")


def test_a_word_finds_its_other_forms_and_all_words_are_needed(notebook: Notebook) -> None:
    assert "Decay the weights" in shown(found(notebook, "decays embedding"))
    assert "Nothing" in shown(found(notebook, "decays elephant"))


def test_words_in_double_quotes_stand_side_by_side(notebook: Notebook) -> None:
    assert "Decay the weights" in shown(found(notebook, '"the weights"'))
    assert "Nothing" in shown(found(notebook, '"weights the"'))


@pytest.mark.parametrize(
    "words",
    ['"', "-", "NEAR(", "a OR", "*", "^", "\0", "", "'; drop table", "title:", '"" "', "{a}"],
)
def test_odd_characters_are_no_syntax(notebook: Notebook, words: str) -> None:
    assert shown(found(notebook, words))


def test_words_beside_odd_characters_are_found(notebook: Notebook) -> None:
    assert "Decay the weights" in shown(found(notebook, "weights - ( embeddings *"))


def test_nothing_found_is_one_clear_line(notebook: Notebook) -> None:
    told = shown(found(notebook, "[b]elephant[/b] \x1b[31m"))
    assert told == "Nothing in the notebook has all of: [b]elephant[/b]"


def test_what_is_left_out_is_said(notebook: Notebook) -> None:
    night = Night(notebook)
    for _ in range(HITS + 3):
        experiment = night.begin()
        night.propose(experiment, "Feed it to a giraffe")
        night.close(experiment, Verdict(decision="discard", reason="It does not eat."))
    told = shown(found(notebook, "giraffe"))
    assert told.endswith("and 3 more experiments and 3 more messages")


def test_what_was_looked_for_stands_out(notebook: Notebook) -> None:
    assert "\x1b[1mtimid\x1b[0m" in shown(found(notebook, "timid"), colours=True)


# --- what changed -----------------------------------------------------------------------------


def test_what_was_kept_is_a_diff_against_the_baseline(notebook: Notebook) -> None:
    kept = changes(notebook)
    assert "-learning_rate = 0.02\n+learning_rate = 0.04\n" in kept
    assert "width = 128" not in kept


def test_what_an_experiment_changed_is_a_diff_against_its_head(notebook: Notebook) -> None:
    changed = changes(notebook, 2)
    assert "-width = 64\n+width = 128\n" in changed
    assert " learning_rate = 0.04\n" in changed


def test_no_change_is_an_empty_diff_and_no_baseline_an_error(
    notebook: Notebook, empty: Notebook
) -> None:
    assert changes(notebook, 7) == ""
    with pytest.raises(LabError, match="baseline"):
        changes(empty)


def test_a_diff_is_exact_until_it_is_coloured_for_a_terminal(notebook: Notebook) -> None:
    night = Night(notebook)
    patch = Patch(edits=(Edit(search="warmup = 0.0", replace='warmup = "\x1b[2J[red]"'),))
    candidate = apply_patch(patch, BASELINE)
    experiment = night.begin()
    notebook.set_patch(
        experiment.id,
        patch,
        head_sha=night.head,
        candidate_sha=notebook.keep_source(candidate),
        normalized_sha="n",
    )
    changed = changes(notebook, experiment.number)
    assert '+warmup = "\x1b[2J[red]"\n' in changed
    assert '+warmup = "[red]"' in shown(coloured(changed))
    assert '\x1b[32m+warmup = "[red]"' in shown(coloured(changed), colours=True)
