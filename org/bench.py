"""The reviewers: one, or a bench whose rule says what their words come to together."""

from __future__ import annotations

from collections.abc import Sequence

from org.config import ReviewRule, RoleConfig
from org.step import Step
from roles import reviewer
from roles.model import AskAbandoned, ModelError, ModelRefused
from roles.purse import BudgetSpent
from roles.quoting import at_most, line
from roles.records import PARAGRAPH_CHARACTERS, Review, ReviewReads, ScreeningReads


def screen(step: Step, reads: ScreeningReads) -> str | None:
    """Ask every reviewer about a patch, each by themselves; the objection, or None if it may be tried.

    All are asked, so that the engineer hears all objections at once.

    Raises:
        ModelError: a reviewer could not be brought to answer.
    """
    said = [
        (person.name, reviewer.screen(step.voice(person), person.name, step.prompt(person), reads))
        for person in step.roles.reviewers
    ]
    objections = [(name, answer.reply.reason) for name, answer in said if not answer.reply.approved]
    if not carried(len(objections), len(said), step.lab.config.review.rule):
        return None
    return _together(objections, alone=len(said) == 1)


def review(step: Step, reads: ReviewReads) -> Review:
    """Ask what is to be learned, and whether there is an objection to a change that is better.

    The first reviewer explains and draws the lesson. The others are asked where there is something
    to object to: a change that would go on the stack. What was measured stands also where a reviewer
    cannot be brought to answer: nothing was objected to then.

    Raises:
        ModelRefused, BudgetSpent, AskAbandoned: the review can be had later.
    """
    first, *others = step.roles.reviewers
    asked = [first, *(others if reads.decision == "provisional" else [])]
    said = [(person.name, _review_by(step, person, reads)) for person in asked]
    if len(said) == 1:
        return said[0][1]
    rule = step.lab.config.review.rule
    objects = [(name, words.explanation) for name, words in said if words.objects]
    wishes = [(name, words.explanation) for name, words in said if words.certify]
    objecting, certifying = (carried(len(each), len(said), rule) for each in (objects, wishes))
    heard = objects if objecting else wishes if certifying else []
    explanation = _together(heard, alone=False) if heard else said[0][1].explanation
    return Review(
        explanation=at_most(explanation, PARAGRAPH_CHARACTERS),
        lesson=said[0][1].lesson,
        objects=objecting,
        certify=certifying,
    )


def _review_by(step: Step, person: RoleConfig, reads: ReviewReads) -> Review:
    try:
        voice, prompt = step.voice(person), step.prompt(person)
        return reviewer.review(voice, person.name, prompt, reads).reply
    except (ModelRefused, BudgetSpent, AskAbandoned):
        raise
    except ModelError as error:
        step.lab.onlooker.note(f"{step.what}: without a word of {person.name}, who failed: {error}")
        why = at_most(f"No review could be had: {error}", PARAGRAPH_CHARACTERS)
        return Review(explanation=why, lesson="")


def carried(votes: int, of: int, rule: ReviewRule) -> bool:
    """Whether so many of a bench are enough: any one of them, or more than half."""
    return votes > 0 if rule == "any" else 2 * votes > of


def _together(said: Sequence[tuple[str, str]], *, alone: bool) -> str:
    """What several said, a line each under their name, in which nobody can speak for another."""
    if alone:
        return said[0][1]
    return "\n".join(f"{name}: {line(words)}" for name, words in said)
