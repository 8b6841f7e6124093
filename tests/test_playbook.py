"""The playbook: real moves on the real train.py, chosen by what the notebook says."""

from __future__ import annotations

import random
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import torch

import roles
import trainer
from roles.candidates import candidates
from roles.constants import find_constants
from roles.director import leading
from roles.knobs import Rewrite
from roles.model import Answer, Brief, ModelError, Reply
from roles.moves import KNOBS, REWRITES
from roles.playbook import Playbook
from roles.records import (
    AdviserReads,
    Category,
    Decision,
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Entry,
    Hypothesis,
    HypothesisReads,
    NearMisses,
    Part,
    Person,
    Prose,
    Reads,
    Record,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
    Suggestion,
    WayOut,
    WaysOut,
)
from roles.reviewer import mechanical_objection
from trainer.patch import apply_patch, diff, parse_patch
from trainer.source import normalized_sha

TRAIN = Path(trainer.__file__).with_name("train.py").read_text()
FOUR_LINES = "import torch\nfrom trainer import prepare\nfor _ in prepare.start(1):\n    break\n"
SMALL = "DEPTH = 4  # layers\nFUDGE = 0.5  # how much\nSEED = 7\nprint(DEPTH * FUDGE * SEED)\n"
PEOPLE = (Person(name="hypothesis"),)


def answer(reads: Reads, reply_type: type[Reply], device: str | None = "cpu") -> Answer[Reply]:
    brief = Brief(role="anyone", prompt="", reads=reads)
    return Playbook(device).ask(brief, reply_type)


def ask(reads: Reads, reply_type: type[Reply], device: str | None = "cpu") -> Reply:
    return answer(reads, reply_type, device).reply


def notebook(*entries: Entry, left_out: int = 0) -> Digest:
    return Digest(
        program="",
        baseline_bpb=1.9,
        incumbent_bpb=1.9,
        noise_bpb=0.005,
        entries=entries,
        left_out=left_out,
    )


def entry(
    title: str,
    category: Category,
    decision: Decision | None = "discard",
    effect: float | None = 0.001,
    number: int = 1,
) -> Entry:
    return Entry(number=number, title=title, category=category, decision=decision, effect=effect)


def towards(category: Category) -> Direction:
    return Direction(category=category, focus="", assignee="hypothesis", reason="")


def idea(title: str, change: str = "", category: Category = "optimizer") -> Hypothesis:
    return Hypothesis(
        title=title, category=category, change=change, mechanism="", expected_effect=-0.001
    )


def propose(
    category: Category, *entries: Entry, source: str = TRAIN, objections: tuple[str, ...] = ()
) -> Hypothesis:
    reads = HypothesisReads(
        digest=notebook(*entries),
        direction=towards(category),
        source=source,
        objections=objections,
    )
    return ask(reads, Hypothesis)


def patched(hypothesis: Hypothesis, source: str, device: str | None = "cpu") -> str:
    reply = ask(EngineerReads(hypothesis=hypothesis, source=source), Prose, device)
    return apply_patch(parse_patch(reply.text), source)


def value_of(name: str, source: str, device: str = "cpu") -> int:
    (value,) = find_constants(source, device)[name].values
    assert isinstance(value, int)
    return value


# --- the moves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_move_yields_another_source_that_compiles(device: str) -> None:
    moves = candidates(TRAIN, find_constants(TRAIN, device), notebook())
    assert len({move.title for move in moves}) == len(moves) >= 60
    sources = {patched(idea(move.title, move.change), TRAIN, device) for move in moves}
    assert len(sources - {TRAIN}) == len(moves)


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.title)
def test_every_rewrite_applies_to_train_py_and_trains(rewrite: Rewrite) -> None:
    source = patched(idea(rewrite.title), TRAIN)
    assert mechanical_objection(source, TRAIN) is None
    module = module_from_spec(spec := spec_from_loader("rewritten", loader=None))  # type: ignore[arg-type]
    assert spec
    exec(compile(source, "rewritten.py", "exec"), module.__dict__)
    torch.manual_seed(0)
    model, ids = module.GPT(64, 32), torch.randint(64, (2, 32))
    adamw, muon = module.adamw(model), module.muon(model)
    losses = list[float]()
    for _ in range(12):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        adamw.step()
        muon.step(0.02, 0.9, 0.1)
        model.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_every_constant_of_the_table_stands_in_train_py() -> None:
    assert {knob.name for knob in KNOBS} <= set(find_constants(TRAIN))


def test_train_py_has_a_place_for_every_category() -> None:
    moves = candidates(TRAIN, find_constants(TRAIN, "cpu"), notebook())
    assert len({move.category for move in moves}) == 9


def test_only_the_value_of_the_labs_own_device_is_changed() -> None:
    deeper = patched(idea("Raise DEPTH to 77"), TRAIN)
    assert value_of("DEPTH", deeper, "cpu") == 77
    assert value_of("DEPTH", deeper, "cuda") == value_of("DEPTH", TRAIN, "cuda") != 77


def test_a_changed_line_keeps_its_comment() -> None:
    assert patched(idea("Raise FUDGE from 0.5 to 0.75"), SMALL) == SMALL.replace("0.5", "0.75")


def test_a_constant_that_nobody_told_it_about_gets_an_honest_move() -> None:
    fudge = [
        move
        for move in candidates(SMALL, find_constants(SMALL), notebook())
        if "FUDGE" in move.title
    ]
    assert [move.title for move in fudge] == [
        "Raise FUDGE from 0.5 to 0.75",
        "Lower FUDGE from 0.5 to 0.333",
    ]
    assert all("knows nothing of FUDGE" in move.mechanism for move in fudge)
    assert all("how much" in move.mechanism for move in fudge)


def test_the_seed_is_no_move() -> None:
    moves = candidates(SMALL, find_constants(SMALL), notebook())
    assert not [move for move in moves if "SEED" in move.title]


def test_a_batch_is_halved_along_with_the_rows_that_make_it_up() -> None:
    batch, rows = value_of("BATCH_TOKENS", TRAIN), value_of("ROWS", TRAIN)
    halved = patched(idea(f"Lower BATCH_TOKENS from {batch} to {batch // 2}"), TRAIN)
    assert (value_of("BATCH_TOKENS", halved), value_of("ROWS", halved)) == (batch // 2, rows // 2)


def test_a_width_is_a_multiple_of_the_head_width() -> None:
    moves = candidates(TRAIN, find_constants(TRAIN, "cuda"), notebook())
    widths = [int(move.title.split()[-1]) for move in moves if " WIDTH " in move.title]
    assert widths
    assert all(width % value_of("HEAD_WIDTH", TRAIN, "cuda") == 0 for width in widths)


# --- what to try next ---------------------------------------------------------------------------


def experiment(digest: Digest, source: str) -> tuple[Hypothesis, str]:
    """One experiment up to the screened source, by the playbook in all roles."""
    direction = ask(DirectorReads(digest=digest, people=PEOPLE), Direction)
    reads = HypothesisReads(digest=digest, direction=direction, source=source)
    hypothesis = ask(reads, Hypothesis)
    candidate = patched(hypothesis, source)
    change = diff(source, candidate)
    screening = ask(ScreeningReads(digest=digest, hypothesis=hypothesis, diff=change), Screening)
    assert screening.approved, screening.reason
    return hypothesis, candidate


def test_sixty_experiments_in_a_row_repeat_no_source() -> None:
    source, entries = TRAIN, list[Entry]()
    seen, chance = {source}, random.Random(1)
    for number in range(60):
        hypothesis, candidate = experiment(notebook(*entries), source)
        assert candidate not in seen, hypothesis.title
        seen.add(candidate)
        effect = chance.gauss(0.002, 0.01)
        decision: Decision = "crash" if chance.random() < 0.05 else "discard"
        if decision == "discard" and effect < -0.005:
            decision, source = "keep", candidate
        known = None if decision == "crash" else effect
        entries.append(entry(hypothesis.title, hypothesis.category, decision, known, number))
    assert len({one.category for one in entries}) >= 6


def test_the_first_six_experiments_are_of_several_kinds_and_not_all_numbers() -> None:
    entries = list[Entry]()
    for number in range(6):
        hypothesis, _ = experiment(notebook(*entries), TRAIN)
        entries.append(entry(hypothesis.title, hypothesis.category, number=number))
    assert len({one.category for one in entries}) >= 3
    assert {rewrite.title for rewrite in REWRITES} & {one.title for one in entries}


def test_the_same_brief_gets_the_same_answer() -> None:
    def read(left_out: int) -> HypothesisReads:
        digest = notebook(entry("Raise DEPTH from 4 to 5", "architecture"), left_out=left_out)
        return HypothesisReads(digest=digest, direction=towards("optimizer"), source=TRAIN)

    assert answer(read(3), Hypothesis) == answer(read(3), Hypothesis)
    every = [ask(read(left_out), Hypothesis).title for left_out in range(1, 21)]
    assert len(set(every)) > 1  # what the digest left out is not the same move every time


def test_after_three_dead_ends_the_director_looks_elsewhere() -> None:
    gold = [entry(f"gold {n}", "schedule", "keep", -0.2, n) for n in range(3)]
    reads = DirectorReads(digest=notebook(*gold), people=PEOPLE)
    assert ask(reads, Direction).category == "schedule"
    dead = [entry(f"dead {n}", "schedule", number=3 + n) for n in range(3)]
    after = ask(DirectorReads(digest=notebook(*gold, *dead), people=PEOPLE), Direction)
    assert after.category != "schedule"
    assert "dead ends" in after.reason


def test_the_director_stays_away_from_what_is_open_on_another_desk() -> None:
    gold = [entry(f"gold {n}", "schedule", "keep", -0.2, n) for n in range(3)]
    busy = entry("", "schedule", None, None, 4)
    chosen = ask(DirectorReads(digest=notebook(*gold, busy), people=PEOPLE), Direction)
    assert chosen.category != "schedule"


def test_the_director_gives_the_work_to_whose_focus_it_is() -> None:
    people = (Person(name="ada", focus="the schedule"), Person(name="bo", focus="architecture"))
    chosen = ask(DirectorReads(digest=notebook(), people=people), Direction)
    assert (chosen.category, chosen.assignee) == ("architecture", "bo")


def test_the_director_follows_what_is_suggested_while_there_is_something_left_to_do() -> None:
    people = (Person(name="ada", focus="the schedule"), Person(name="bo", focus="architecture"))
    whom = Suggestion(assignee="ada", reason="she pays off")
    reads = DirectorReads(digest=notebook(), people=people, suggestion=whom)
    chosen = ask(reads, Direction)
    assert (chosen.category, chosen.assignee) == ("schedule", "ada")
    assert "she pays off" in chosen.reason
    busy = entry("", "schedule", None, None, 4)
    elsewhere = ask(reads.model_copy(update={"digest": notebook(busy)}), Direction)
    assert (elsewhere.category, elsewhere.assignee) == ("architecture", "bo")


def a_part(number: int, old: str, new: str) -> Part:
    block = f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE"
    title = f"Raise {new.split()[0]} from {old.split()[2]} to {new.split()[2]}"
    return Part(number=number, title=title, category="architecture", effect=0.001, patch=block)


DEEPER = a_part(3, "DEPTH = 4  # layers", "DEPTH = 6  # layers")
FUDGED = a_part(5, "FUDGE = 0.5  # how much", "FUDGE = 0.7  # how much")
PLATEAU = WaysOut(
    evidence="nothing was gained",
    ways=("change category",),
    stale=("schedule", "batch"),
    near_misses=(NearMisses(first=DEEPER, second=FUDGED),),
    keeps=(DEEPER,),
)


def led_off(way: WayOut, *entries: Entry) -> Direction:
    """Where the playbook's director leads on a plateau, this way being the least used."""
    ways_out = PLATEAU.model_copy(update={"ways": (way, "go back")})
    gold = [entry(f"gold {n}", "schedule", "keep", -0.2, n) for n in range(3)]
    reads = DirectorReads(digest=notebook(*gold, *entries), people=PEOPLE, ways_out=ways_out)
    return leading(ways_out).model_validate(ask(reads, leading(ways_out)).model_dump())


def test_on_a_plateau_the_director_goes_each_way_in_its_turn() -> None:
    elsewhere = led_off("change category")
    assert elsewhere.way_out == "change category"
    assert elsewhere.category not in PLATEAU.stale
    assert led_off("simplify").category == "simplification"
    combined = led_off("combine near misses")
    assert (combined.builds_on, combined.category) == ((3, 5), "architecture")
    back = led_off("go back")
    assert (back.builds_on, back.category) == ((3,), "schedule")
    assert "off the plateau: go back" in back.reason


def test_a_way_off_the_plateau_that_is_worked_out_is_passed_by() -> None:
    told = "Nothing is left to try in simplification on this source."
    spent = entry("x", "architecture").model_copy(update={"change": told})
    assert led_off("simplify", spent).way_out == "go back"


def test_near_misses_are_put_together_as_they_were_written() -> None:
    direction = led_off("combine near misses")
    reads = HypothesisReads(
        digest=notebook(), direction=direction, source=SMALL, parts=(DEEPER, FUDGED)
    )
    hypothesis = ask(reads, Hypothesis)
    assert hypothesis.title == "Combine #3 with #5"
    asked = EngineerReads(hypothesis=hypothesis, source=SMALL, parts=(DEEPER, FUDGED))
    both = apply_patch(parse_patch(ask(asked, Prose).text), SMALL)
    assert both == SMALL.replace("DEPTH = 4", "DEPTH = 6").replace("FUDGE = 0.5", "FUDGE = 0.7")
    changed = diff(SMALL, both)
    screened = ScreeningReads(digest=notebook(), hypothesis=hypothesis, diff=changed)
    assert ask(screened, Screening).approved
    complained = asked.model_copy(update={"complaint": "It crashed."})
    assert "cannot" in ask(complained, Prose).text
    objected = reads.model_copy(update={"objections": ("'Combine #3 with #5' was tried already.",)})
    with pytest.raises(ModelError, match="one way only"):
        ask(objected, Hypothesis)


def test_after_a_keep_it_goes_on_the_same_way() -> None:
    doubled = patched(idea("Raise HEAD_LR from 0.004 to 0.03"), TRAIN)
    kept = entry("Raise HEAD_LR from 0.004 to 0.03", "optimizer", "keep", -0.2)
    proposal = propose("optimizer", kept, source=doubled)
    assert proposal.title == "Raise HEAD_LR from 0.03 to 0.06"
    assert proposal.expected_effect == pytest.approx(-0.1)
    assert "-0.2000" in proposal.mechanism


def test_what_is_on_the_stack_is_followed_as_what_is_kept_and_its_effect_told_as_it_is() -> None:
    doubled = patched(idea("Raise HEAD_LR from 0.004 to 0.03"), TRAIN)
    on_top = entry("Raise HEAD_LR from 0.004 to 0.03", "optimizer", "provisional", -0.2)
    proposal = propose("optimizer", on_top.model_copy(update={"error": 0.01}), source=doubled)
    assert proposal.title == "Raise HEAD_LR from 0.03 to 0.06"
    assert "0.004 to 0.03: provisional, -0.2000 ± 0.0100" in proposal.mechanism


def test_what_was_dropped_is_a_failure_to_whoever_comes_next() -> None:
    gone = entry("Raise FUDGE from 0.5 to 0.75", "architecture", "dropped", -0.2)
    moves = candidates(SMALL, find_constants(SMALL), notebook(gone))
    up, down = (move for move in moves if "FUDGE" in move.title)
    assert down.gain > up.gain
    dead = [entry(f"dead {n}", "schedule", "dropped", -0.2, n) for n in range(3)]
    chosen = ask(DirectorReads(digest=notebook(*dead), people=PEOPLE), Direction)
    assert chosen.category != "schedule"


def test_after_clear_harm_it_turns_the_other_way_and_never_to_the_same_value() -> None:
    harmful = entry("Raise FUDGE from 0.5 to 0.75", "architecture", "discard", 0.2)
    moves = candidates(SMALL, find_constants(SMALL), notebook(harmful))
    up, down = (move for move in moves if "FUDGE" in move.title)
    assert down.title == "Lower FUDGE from 0.5 to 0.333"
    assert up.title == "Raise FUDGE from 0.5 to 0.612"
    assert down.gain > up.gain


def test_a_knob_that_another_desk_is_turning_is_left_alone() -> None:
    busy = entry("Raise HEAD_LR from 0.001 to 0.002", "optimizer", None, None)
    moves = candidates(TRAIN, find_constants(TRAIN, "cpu"), notebook(busy))
    assert not [move for move in moves if "HEAD_LR" in move.title]


@pytest.mark.parametrize("words", ["'{}' was tried already.", "No, not this."])
def test_an_objection_is_heeded(words: str) -> None:
    first = propose("optimizer").title
    second = propose("optimizer", objections=(words.format(first),))
    assert second.title != first
    third = propose("optimizer", objections=(words.format(first), words.format(second.title)))
    assert third.title not in (first, second.title)


def test_where_a_category_is_worked_out_it_says_so_and_the_director_hears_it() -> None:
    proposal = propose("batch", source=SMALL)
    assert "Nothing is left to try in batch" in proposal.change
    told = entry("x", "architecture").model_copy(update={"change": proposal.change})
    gold = [entry(f"gold {n}", "batch", "keep", -0.2, n) for n in range(3)]
    chosen = ask(DirectorReads(digest=notebook(*gold, told), people=PEOPLE), Direction)
    assert chosen.category != "batch"


def test_a_source_without_a_number_to_turn_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match=r"knows nothing to try on this train\.py"):
        propose("optimizer", source=FOUR_LINES)


def test_a_source_that_does_not_parse_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match="knows nothing to try"):
        propose("optimizer", source="def (:\nLR = 1\n")


# --- the engineer -------------------------------------------------------------------------------


def test_the_engineer_finds_the_line_where_the_head_has_moved_to() -> None:
    hypothesis = propose("optimizer")
    moved = TRAIN.replace("# AdamW, on the output head", "# now for the head")
    assert moved != TRAIN
    assert normalized_sha(patched(hypothesis, moved)) == normalized_sha(patched(hypothesis, TRAIN))


@pytest.mark.parametrize(
    "words", ["FUDGE = 0.7", "Set FUDGE to 0.7, please.", "Turn `FUDGE` from 0.5 to 0.7"]
)
def test_the_engineer_understands_another_minds_words_for_a_constant(words: str) -> None:
    assert "\nFUDGE = 0.7  # how much\n" in patched(idea("More fudge", words), SMALL)


def test_after_a_complaint_it_goes_half_way_and_then_gives_up_in_plain_words() -> None:
    hypothesis = idea("Raise FUDGE from 0.5 to 2.0")
    first = ask(EngineerReads(hypothesis=hypothesis, source=SMALL), Prose).text
    reads = EngineerReads(
        hypothesis=hypothesis, source=SMALL, previous=first, complaint="it exploded"
    )
    second = ask(reads, Prose).text
    assert parse_patch(second).summary == "FUDGE half as far, from 0.5 to 1.0"
    assert "FUDGE = 1.0" in apply_patch(parse_patch(second), SMALL)
    third = ask(reads.model_copy(update={"previous": second}), Prose).text
    assert "cannot" in third
    assert "it exploded" in third
    assert "SEARCH" not in third


def test_what_it_does_not_understand_it_does_not_pretend_to_write() -> None:
    reads = EngineerReads(hypothesis=idea("Use a better optimizer"), source=TRAIN)
    assert "cannot" in ask(reads, Prose).text


# --- the reviewer and the adviser ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("edited", "approved", "why"),
    [
        (SMALL, False, "changes nothing"),
        (SMALL.replace("0.5", "0.7"), True, "FUDGE"),
        (SMALL.replace("0.5", "0.7").replace("4", "5"), False, "does not speak of DEPTH"),
    ],
)
def test_the_reviewer_counts_what_a_patch_changes(edited: str, approved: bool, why: str) -> None:
    reads = ScreeningReads(
        digest=notebook(),
        hypothesis=idea("Raise FUDGE from 0.5 to 0.7"),
        diff=diff(SMALL, edited),
    )
    screening = ask(reads, Screening)
    assert screening.approved is approved
    assert why in screening.reason


@pytest.mark.parametrize(
    ("decision", "evidence", "lesson"),
    [
        ("provisional", "-0.0200 ± 0.0050 bpb", "It looks better here on one run"),
        ("discard", "+0.0200 ± 0.0050 bpb", "It does harm here"),
        ("discard", "+0.0200 ± 0.0050 (single run): not better", "It does harm here"),
        ("discard", "−0.0200 ± 0.0050 (single run): objected to", "no proof of harm"),
        ("discard", "+0.0020 ± 0.0050 bpb", "no proof of harm"),
        ("crash", "given up after 3 attempts", "nothing is known"),
    ],
)
def test_a_lesson_claims_no_more_than_the_evidence(
    decision: Decision, evidence: str, lesson: str
) -> None:
    reads = ReviewReads(hypothesis=idea("x"), diff="", decision=decision, evidence=evidence)
    review = ask(reads, Review)
    assert evidence in review.explanation
    assert lesson in review.lesson
    assert not review.objects and not review.certify


def test_the_adviser_reports_what_the_digest_shows() -> None:
    entries = [
        entry("a", "schedule", "keep", -0.02),
        entry("b", "batch", "discard", 0.001),
        entry("c", "batch", "discard", 0.1),
    ]
    reads = AdviserReads(digest=notebook(*entries), moment="before: engineer", discussion="")
    text = ask(reads, Prose).text
    assert "1 of 3" in text
    assert "1 of the discarded" in text
    assert "attention" in text.partition("Not looked at yet")[2]
    assert "batch" not in text.partition("Not looked at yet")[2]


def test_it_says_that_it_is_no_language_model_and_costs_nothing() -> None:
    said = answer(DirectorReads(digest=notebook(), people=PEOPLE), Direction)
    assert said.model == Playbook().name == "playbook (no language model)"
    assert said.dollars == said.prompt_tokens == said.reply_tokens == 0


def test_a_reply_of_another_kind_than_was_read_for_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match="DirectorReads with Direction, not with Review"):
        ask(DirectorReads(digest=notebook(), people=PEOPLE), Review)


# --- the prompts --------------------------------------------------------------------------------

PROMPTS: dict[str, tuple[type[Record], ...]] = {
    "director.md": (Direction,),
    "hypothesis.md": (Hypothesis,),
    "engineer.md": (),
    "reviewer.md": (Screening, Review),
    "skeptic.md": (),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_names_every_field_of_its_reply_and_fits_on_a_page(name: str) -> None:
    text = Path(roles.__file__ or "").with_name(name).read_text()
    for record in PROMPTS[name]:
        assert [field for field in record.model_fields if f"`{field}`" not in text] == []
    assert len(text.splitlines()) <= 60
    assert "never an instruction" in " ".join(text.split())


def test_the_engineers_example_is_a_patch_that_applies_to_train_py() -> None:
    text = Path(roles.__file__ or "").with_name("engineer.md").read_text()
    patch = parse_patch(text.partition("```text\n")[2].partition("```")[0])
    assert patch.summary
    assert apply_patch(patch, TRAIN) != TRAIN
