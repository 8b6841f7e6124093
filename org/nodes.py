"""What happens at each place of the chart: ask a person, do one thing, say what it came to.

A node that is interrupted runs again from its first line. So each does one thing to the world,
under an id that is known beforehand, and finds what it already did.
"""

from __future__ import annotations

from typing import Protocol

from langgraph.runtime import Runtime

from org import bench
from org.certifying import certify_stack
from org.config import AdviserConfig
from org.due import why_due
from org.escape import parts, version_of, ways_out
from org.figures import counted
from org.lab import Lab
from org.payoff import paid_off, suggestion
from org.state import ExperimentState
from org.step import Step
from roles import adviser, director, engineer, hypothesis, reviewer
from roles.quoting import at_most, line
from roles.records import (
    CANNOT_BE_DONE,
    GIVEN_UP,
    HEAD_MOVED,
    OBJECTED_TO,
    OBJECTION,
    OBJECTIONS,
    PARAGRAPH_CHARACTERS,
    TRIED_ALREADY,
    Advice,
    AdviserReads,
    Decision,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Part,
    ReviewReads,
    ScreeningReads,
    Verdict,
)
from trainer.devices import Lease
from trainer.evidence.effect import Effect
from trainer.patch import PatchError, diff, rewriting
from trainer.trial import Trial

# After so many hypotheses that were all tried before or cannot be done, an experiment is given up.
HYPOTHESES_PER_EXPERIMENT = 3
WISH_CHARACTERS = 200  # of why a reviewer wants a certification


# Others went on from the head that this one goes back from: it would undo what nobody has proven.
HEAD_LEFT = Verdict(
    decision="discard",
    reason=f"{HEAD_MOVED} an earlier version was gone back to; what came on top stays.",
)


class Node(Protocol):
    """A place of the chart: reads the state, uses the lab, gives what has changed."""

    def __call__(self, state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState: ...


def direct(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """The director decides what to look at next; from here on the other desks see it."""
    step = Step(runtime.context, state["experiment"], "direct")
    person = step.roles.director
    program_sha = step.lab.read_program()
    people, experiment = step.lab.people, step.experiment
    notes = step.notes(person)
    # What a person asks for comes first; and a way off a plateau leads elsewhere already.
    ways = None if notes else ways_out(step.notebook, step.lab.setting.profile)
    exploration = 0.0 if notes or ways else person.exploration
    record = paid_off(step.notebook, people, experiment.number)
    reads = DirectorReads(
        digest=step.digest(program_sha),
        people=people,
        notes=notes,
        paid_off=record,
        suggestion=suggestion(step.notebook, people, experiment, exploration, record),
        ways_out=ways,
        advice=state.get("advice", ()),
    )
    answer = director.direct(step.voice(person), person.name, step.prompt(person), reads)
    direction, ground = answer.reply, step.ground()
    step.set_direction(direction, program_sha, ground["head_sha"])
    directed: ExperimentState = {
        **ground,
        "outcome": "directed",
        "direction": direction,
        "program_sha": program_sha,
    }
    if direction.way_out == "go back":
        directed["back_sha"] = version_of(step.notebook, *direction.builds_on)
    return directed


def hypothesize(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """The one who was assigned proposes a change, its mechanism and its expected size."""
    count = state.get("hypotheses", 0) + 1
    step = Step(runtime.context, state["experiment"], f"hypothesize.{count}")
    person = step.hypothesis_role(state["direction"].assignee)
    reads = HypothesisReads(
        digest=step.digest(state["program_sha"]),
        direction=state["direction"],
        focus=person.focus,
        source=step.notebook.source(_ground(state)),
        head_telemetry=step.telemetry_of_source(_ground(state)),
        parts=_parts(step, state),
        objections=state.get("objections", ()),
        advice=state.get("advice", ()),
    )
    answer = hypothesis.hypothesize(step.voice(person), person.name, step.prompt(person), reads)
    proposed = _said_where(answer.reply, state)
    step.notebook.set_hypothesis(step.experiment.id, proposed)
    return {
        "outcome": "proposed",
        "hypothesis": proposed,
        "hypotheses": count,
        "attempts": 0,
        "revisions": 0,
        "candidate_sha": "",
        "previous": "",
        "complaint": "",
        "log": "",
    }


def write(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """The engineer writes a patch; one that does not fit comes back with the exact reason."""
    attempt = state["attempts"] + 1
    step = Step(runtime.context, state["experiment"], f"engineer.{state['hypotheses']}.{attempt}")
    person = step.roles.engineer
    source, head = step.notebook.source(_ground(state)), step.notebook.source(state["head_sha"])
    reads = EngineerReads(
        hypothesis=state["hypothesis"],
        source=source,
        parts=_parts(step, state),
        previous=state["previous"],
        complaint=state["complaint"],
        telemetry=step.telemetry(state["candidate_sha"]) if state["outcome"] == "crash" else "",
        log=state["log"],
        advice=state.get("advice", ()),
    )
    answer = engineer.write_patch(step.voice(person), person.name, step.prompt(person), reads)
    told: ExperimentState = {"attempts": attempt, "previous": answer.reply.text, "log": ""}
    try:
        patch, candidate = engineer.candidate_source(answer.reply.text, source)
        if head != source:  # what it comes to is judged, and kept, as a change of the head
            patch = rewriting(head, candidate, patch.summary)
    except PatchError as error:
        if why := engineer.refusal(answer.reply.text):
            return {**told, **_cannot_be_done(step, state, why)}
        step.say(person.name, str(error))
        return {**told, **_again(step, {**state, **told}, "edits fail", "crash", str(error))}
    candidate_sha = step.keep_candidate(patch, state["head_sha"], candidate)
    return {**told, "outcome": "written", "patch": patch, "candidate_sha": candidate_sha}


def screen(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """Code looks for what was tried before or is forbidden; then the reviewer looks."""
    name = f"screen.{state['hypotheses']}.{state['attempts']}"
    step = Step(runtime.context, state["experiment"], name)
    candidate = step.notebook.source(state["candidate_sha"])
    source = step.notebook.source(_ground(state))
    if number := step.tried_before(candidate):
        return _duplicate(step, state, number)
    objection = reviewer.mechanical_objection(candidate, source)
    if objection is not None:
        step.say("engineer", objection)
    else:
        reads = ScreeningReads(
            digest=step.digest(state["program_sha"]),
            hypothesis=state["hypothesis"],
            source=source,
            diff=diff(source, candidate),
            advice=state.get("advice", ()),
        )
        objection = bench.screen(step, reads)
        if objection is None:
            return {"outcome": "approved"}
    return _revised(step, state, objection)


def approve(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """A person looks at the patch before it is tried, however long that takes."""
    name = f"approve.{state['hypotheses']}.{state['attempts']}"
    step = Step(runtime.context, state["experiment"], name)
    answer = step.ask_person()
    if answer.approved:
        return {"outcome": "accepted"}
    return _again(step, state, "rejected", "discard", f"A person rejects it: {answer.reason}")


def smoke(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """Let the candidate make a few steps: what cannot run costs seconds, and no trial."""
    name = f"smoke.{state['hypotheses']}.{state['attempts']}"
    step = Step(runtime.context, state["experiment"], name)
    test = step.smoke_test(state["candidate_sha"])
    if test.outcome == "completed":
        return {"outcome": "runs"}
    return _does_not_run(step, state, "does not run", test)


def train(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """Run the candidate once, when a device is free for it, on top of that moment's head."""
    name = f"train.{state['hypotheses']}.{state['attempts']}"
    step = Step(runtime.context, state["experiment"], name)
    return step.on_device(
        lambda device: _run(step, state, device), urgent=state["direction"].urgent
    )


def _run(step: Step, state: ExperimentState, device: Lease) -> ExperimentState:
    based, candidate_sha = step.ground(), state["candidate_sha"]
    head = based["head_sha"]
    if head != state["head_sha"]:
        if "back_sha" in state:
            return {"outcome": "given up", "failure": HEAD_LEFT}
        try:
            candidate_sha = step.rebase(state["patch"], head)
        except PatchError as error:
            complaint = f"The head has moved since you wrote this. On the new one: {error}"
            step.say("engineer", complaint)
            return {**based, **_again(step, state, "does not apply", "crash", complaint)}
        test = step.smoke_test(candidate_sha, device)
        if test.outcome != "completed":
            return {**based, **_does_not_run(step, state, "crash", test)}
    based["candidate_sha"] = candidate_sha
    step.measure_reference(device)
    trial = step.trial(candidate_sha, device)
    if trial.outcome == "completed":
        return {**based, "outcome": "measured"}
    complaint = f"The trial ended as {trial.outcome}: {trial.reason}"
    crash = _again(step, state, "crash", "crash", complaint)
    return {**based, **crash, "log": trial.log_tail}


def review(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """Write the verdict that follows from the evidence, and what the reviewer learned from it."""
    # What is reviewed is a candidate against a head: when the incumbent moves, it is another review.
    candidate_sha = state.get("candidate_sha", "")
    name = f"review.{state['head_sha'][:8]}.{candidate_sha[:8]}.{state.get('incumbent', '')}"
    step = Step(runtime.context, state["experiment"], name)
    if step.experiment.decision is not None:
        return _closed(step)
    if (found := _computed(step, state)) is None:
        return {"outcome": "head moved"}
    effect, computed = found
    decision, reason = computed.decision, computed.reason
    reads = ReviewReads(
        hypothesis=state["hypothesis"],
        diff=step.diff_so_far(),
        decision=decision,
        evidence=reason,
        telemetry=step.telemetry(candidate_sha),
        head_telemetry=step.telemetry_of_head(state["head_sha"]),
        log=state["log"],
        advice=state.get("advice", ()),
    )
    words = bench.review(step, reads)
    if decision == "provisional" and words.objects:
        objects = OBJECTION if len(step.roles.reviewers) == 1 else OBJECTIONS
        decision, reason = "discard", f"{objects}: {words.explanation}\n{reason}"
    verdict = Verdict(
        decision=decision, reason=at_most(reason, PARAGRAPH_CHARACTERS), lesson=words.lesson
    )
    wish = at_most(line(words.explanation) or "without a reason", WISH_CHARACTERS)
    asked = wish if words.certify else ""
    if decision != "provisional":
        step.close(verdict, effect, state, asked)
    elif not step.stack(verdict, state, asked):
        return {"outcome": "head moved"}
    return _closed(step)


def certify(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
    """Measure the head against the incumbent on fresh seeds, and keep or cut what is on the stack."""
    certify_stack(runtime.context)
    return {"outcome": "certified"}


def adviser_node(person: AdviserConfig) -> Node:
    """A node in which one adviser speaks, to everyone after it.

    Before the engineer that is once for each hypothesis: what was said of it holds for every patch.
    """

    def advise(state: ExperimentState, runtime: Runtime[Lab]) -> ExperimentState:
        if person.before == "engineer" and state["attempts"]:
            return {}
        visit = f"advise.{state.get('hypotheses', 0)}.{state.get('attempts', 0)}"
        step = Step(runtime.context, state["experiment"], visit)
        reads = AdviserReads(
            digest=step.digest(state.get("program_sha") or step.lab.read_program()),
            moment=person.moment,
            source=step.notebook.source(_ground(state)) if "hypothesis" in state else "",
            discussion=step.discussion(),
        )
        words = adviser.advise(step.voice(person), person.name, step.prompt(person), reads).reply
        others = tuple(
            advice for advice in state.get("advice", ()) if advice.speaker != person.name
        )
        return {"advice": (*others, Advice(speaker=person.name, text=words.text))}

    return advise


def _ground(state: ExperimentState) -> str:
    """The source that a patch is written on: the head, or the earlier version that is gone back to."""
    return state.get("back_sha", state["head_sha"])


def _parts(step: Step, state: ExperimentState) -> tuple[Part, ...]:
    """The near misses that are to be combined, if the direction says so."""
    direction = state["direction"]
    combine = direction.way_out == "combine near misses"
    return parts(step.notebook, direction.builds_on) if combine else ()


def _said_where(proposed: Hypothesis, state: ExperimentState) -> Hypothesis:
    """A hypothesis that tells everyone after it what it builds on, where that is not the head."""
    direction = state["direction"]
    if direction.way_out != "go back":
        return proposed
    where = f"On train.py as experiment {direction.builds_on[0]} left it, without what came after: "
    change = at_most(f"{where}{proposed.change}", PARAGRAPH_CHARACTERS)
    return proposed.model_copy(update={"change": change})


def _closed(step: Step) -> ExperimentState:
    """The experiment is over; whether the stack is due now.

    While another desk certifies nobody waits for that: whether it is due then is asked again.
    """
    due = not step.lab.certifying.locked() and why_due(step.lab)
    return {"outcome": "stack is due" if due else "closed"}


def _computed(step: Step, state: ExperimentState) -> tuple[Effect | None, Verdict] | None:
    """The verdict before anyone is asked: from the run, or from why it was given up.

    None where the run says nothing, because the head has moved since.
    """
    if failure := state.get("failure"):
        return None, failure
    if (judged := step.judged(state)) is None:
        return None
    placement, effect = judged
    decision: Decision = "provisional" if placement.says == "stack" else "discard"
    return effect, Verdict(decision=decision, reason=f"{effect.text}: {placement.reason}")


def _does_not_run(step: Step, state: ExperimentState, outcome: str, test: Trial) -> ExperimentState:
    """Back to the engineer with what the smoke test said."""
    complaint = f"It does not run: a few steps on made-up batches {test.outcome}: {test.reason}"
    step.say("engineer", complaint)
    again = _again(step, state, outcome, "crash", complaint)
    return {**again, "log": test.log_tail}


def _again(
    step: Step, state: ExperimentState, outcome: str, decision: Decision, complaint: str
) -> ExperimentState:
    """Back to the engineer with a complaint, or the end of the experiment after enough attempts."""
    attempts = state["attempts"]
    if attempts < step.roles.engineer.attempts:
        return {"outcome": outcome, "complaint": complaint}
    reason = f"{GIVEN_UP} {attempts} attempts: {complaint}"
    return {
        "outcome": "given up",
        "failure": Verdict(decision=decision, reason=at_most(reason, PARAGRAPH_CHARACTERS)),
    }


def _revised(step: Step, state: ExperimentState, objection: str) -> ExperimentState:
    """Back to the engineer with an objection, for as many rounds as org.yaml allows."""
    rounds, had = step.lab.config.review.rounds, state.get("revisions", 0)
    if rounds is None or had < rounds:
        again = _again(step, state, "objection", "discard", objection)
        return {**again, "revisions": had + 1}
    reason = f"{OBJECTED_TO} {counted(had, 'revision')}: {objection}"
    return {
        "outcome": "given up",
        "failure": Verdict(decision="discard", reason=at_most(reason, PARAGRAPH_CHARACTERS)),
    }


def _duplicate(step: Step, state: ExperimentState, number: int) -> ExperimentState:
    """Back to the hypothesis role, which hears what was tried."""
    title = state["hypothesis"].title
    objection = f"'{title}' {TRIED_ALREADY} experiment {number} ran the same program."
    return _fallen(step, state, "duplicate", objection)


def _cannot_be_done(step: Step, state: ExperimentState, why: str) -> ExperimentState:
    """Back to the hypothesis role, which hears why the engineer cannot do it."""
    title = state["hypothesis"].title
    objection = f"'{title}' {CANNOT_BE_DONE} {line(why)}"
    return _fallen(step, state, "cannot be done", at_most(objection, PARAGRAPH_CHARACTERS))


def _fallen(step: Step, state: ExperimentState, outcome: str, objection: str) -> ExperimentState:
    """Back to the hypothesis role with why its hypothesis fell; or the end after a few of them."""
    step.say(state["direction"].assignee, objection)
    objections = (*state.get("objections", ()), objection)
    if state["hypotheses"] < HYPOTHESES_PER_EXPERIMENT:
        return {"outcome": outcome, "objections": objections}
    return {"outcome": "given up", "failure": Verdict(decision="discard", reason=objection)}
