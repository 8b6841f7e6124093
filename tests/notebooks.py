"""A notebook of a short night, filled through its own door: one experiment of every ending."""

from __future__ import annotations

import json
import time
from pathlib import Path

from org.discussion import say, spoken
from org.head import judge, search_seed
from org.judging import judged
from org.notebook import Experiment, Incumbent, Message, Notebook, Run
from org.stack import (
    Begun,
    Certification,
    Pushed,
    certifications,
    fail_certification,
    pass_certification,
    push,
    record_begun,
    stack,
)
from roles.records import (
    Category,
    Direction,
    Hypothesis,
    Prose,
    Record,
    Review,
    Screening,
    Verdict,
)
from trainer.evidence.effect import Effect
from trainer.evidence.stack import Placement
from trainer.patch import Edit, Patch, apply_patch
from trainer.setting import PROFILES
from trainer.source import normalized_sha, source_sha
from trainer.trial import Trial

RUN = "20260501-220000"
BASELINE = "width = 64\nlearning_rate = 0.02\nwarmup = 0.0\n"
BASELINE_SCORES = (1.2410, 1.2402, 1.2424)
PROGRAM = "Lower val_bpb. Keep it simple.\n"

# What a model may call its idea: it must be seen, and nothing of it obeyed.
NASTY_TITLE = "Double\tthe [red]width[/red] | \x1b[31mnow\x1b[0m \x1b]0;owned\x07<b>bold</b>"
NASTY_TITLE_AS_SEEN = "Double the [red]width[/red] | now <b>bold</b>"

PLAYBOOK = "playbook (no language model)"
PRICED = "openai:large"
UNPRICED = "openai:unpriced at http://127.0.0.1:8080/v1"


class Night:
    """Writes into a notebook what nodes would write, one call for each thing that happens."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.head = notebook.keep_source(BASELINE)
        self.program = notebook.keep_program(PROGRAM)
        notebook.begin_run(
            Run(
                id=RUN,
                started=time.time(),
                worked_seconds=0.0,
                org_yaml="{}",
                setting_json=PROFILES["cpu"].model_dump_json(),
                pins_json="{}",
                models_json="{}",
                baseline_sha=self.head,
            )
        )

    def measure_baseline(self) -> None:
        """Three runs of the baseline: the first incumbent."""
        for seed, score in enumerate(BASELINE_SCORES, start=1):
            trial = completed(self.head, seed, score)
            self.notebook.record_trial(f"baseline-{seed}", RUN, None, "baseline", trial)
        mean = sum(BASELINE_SCORES) / len(BASELINE_SCORES)
        self.notebook.set_baseline(RUN, incumbent(1, self.head, None, mean))

    def begin(self, category: Category = "optimizer", desk: str = "desk 1") -> Experiment:
        """An experiment that has its direction."""
        experiment = self.notebook.reserve_experiment(RUN, desk, None)
        assert experiment is not None
        direction = Direction(
            category=category,
            focus="what the last results left open",
            assignee="optimizer",
            reason="Nothing has been tried there for a while.",
        )
        self.reply(experiment, "direct", "director", "hypothesis", direction)
        self.notebook.set_direction(experiment.id, direction, self.program, self.head)
        return self.notebook.experiment(experiment.id)

    def propose(self, experiment: Experiment, title: str, count: int = 1) -> None:
        hypothesis = Hypothesis(
            title=title,
            category=experiment.category or "optimizer",
            change="Change one number of train.py.",
            mechanism="Larger steps cross flat regions sooner.",
            expected_effect=-0.005,
        )
        self.reply(experiment, f"hypothesize.{count}", "optimizer", "engineer", hypothesis)
        self.notebook.set_hypothesis(experiment.id, hypothesis)

    def patch(self, experiment: Experiment, old: str, new: str, *, screened: bool = True) -> str:
        """A patch that fits, screened by the reviewer; the candidate."""
        patch = Patch(edits=(Edit(search=old, replace=new),), summary=f"{old} becomes {new}")
        candidate = apply_patch(patch, self.notebook.source(self.head))
        block = f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"
        self.reply(experiment, "engineer.1.1", "engineer", "reviewer", Prose(text=block))
        self.notebook.keep_source(candidate)
        self.notebook.set_patch(
            experiment.id,
            patch,
            head_sha=self.head,
            candidate_sha=source_sha(candidate),
            normalized_sha=normalized_sha(candidate),
        )
        if screened:
            screening = Screening(approved=True, reason="One change, and a cheap one.")
            self.reply(experiment, "screen.1.1", "reviewer", "engineer", screening)
        return candidate

    def train(self, experiment: Experiment, candidate: str, score: float) -> None:
        """The one run of a candidate, under the seed of the incumbent's latest fresh run."""
        seed = search_seed(self.notebook)
        trial = completed(source_sha(candidate), seed, score)
        trial_id = f"{experiment.id}-{source_sha(candidate)[:8]}-{seed}-1"
        self.notebook.record_trial(trial_id, RUN, experiment.id, "candidate", trial)

    def judged(self, experiment: Experiment, score: float) -> tuple[Placement, Effect]:
        seed = search_seed(self.notebook)
        head_sha = self.notebook.experiment(experiment.id).head_sha or ""
        return judge(self.notebook, "cpu", experiment.id, score, seed, 0, head_sha)

    def close(self, experiment: Experiment, verdict: Verdict, score: float | None = None) -> None:
        """The review and the verdict; with a score it rests on that, and may go on the stack."""
        review = Review(explanation="The trials speak for themselves.", lesson=verdict.lesson)
        self.reply(experiment, "review", "reviewer", "everyone", review)
        if score is None:
            self.notebook.close_experiment(experiment.id, verdict, None, None)
            return
        placement, effect = self.judged(experiment, score)
        said = f"{effect.text}: {placement.reason}"
        verdict = verdict.model_copy(update={"reason": said})
        if verdict.decision != "provisional":
            self.notebook.close_experiment(experiment.id, verdict, effect.bpb, effect.error)
            return
        candidate_sha = self.notebook.experiment(experiment.id).candidate_sha or ""
        pushed = Pushed(
            run=RUN,
            experiment=experiment.id,
            head_sha=self.head,
            source_sha=candidate_sha,
            effect_bpb=effect.bpb,
            error_bpb=effect.error,
            expected_bpb=placement.expected_bpb,
            lines_added=0,
        )
        push(self.notebook, pushed, verdict)
        self.head = candidate_sha

    def certify(self, head: tuple[float, ...], beside: tuple[float, ...]) -> Certification:
        """Fresh runs of head and incumbent, and what they say of the stack."""
        stacked = stack(self.notebook)
        certification = self.begin_certification(len(head))
        for sha, scores in (
            (certification.source_sha, head),
            (certification.incumbent_sha, beside),
        ):
            for seed, score in zip(certification.seeds, scores, strict=True):
                trial_id = f"certify-{sha[:12]}-{seed}"
                trial = completed(sha, seed, score)
                self.notebook.record_trial(trial_id, RUN, None, "certify", trial)
        step = judged(self.notebook, certification)
        if step.says == "fail":
            fail_certification(self.notebook, certification, step, stacked)
            self.head = certification.incumbent_sha
            return certifications(self.notebook)[-1]
        number = certification.incumbent + 1
        commits = [(change, f"{number:040x}") for change in stacked]
        mean = sum(head) / len(head)
        after = incumbent(number, self.head, stacked[-1].experiment, mean, certification.number)
        pass_certification(self.notebook, certification, step, after, commits, [])
        return certifications(self.notebook)[-1]

    def begin_certification(
        self, max_seeds: int, half: int = 0, why: str = "end of the run"
    ) -> Certification:
        """A certification of the stack, or of the first ``half`` of it, that is open."""
        before, stacked = self.notebook.incumbents()[-1], stack(self.notebook)
        size = half or len(stacked)
        first = 1000 + 10 * len(certifications(self.notebook))
        return record_begun(
            self.notebook,
            Begun(
                run=RUN,
                purpose="half" if half else "stack",
                why=why,
                incumbent=before.number,
                incumbent_sha=before.source_sha,
                source_sha=stacked[size - 1].source_sha,
                size=size,
                seeds_json=json.dumps(list(range(first, first + max_seeds))),
                run_bpb=0.001,
                run_freedom=10.0,
                pair_bpb=0.001,
                pair_freedom=10.0,
            ),
        )

    def reply(
        self, experiment: Experiment, step: str, speaker: str, listener: str, reply: Record
    ) -> None:
        """What a role says, of known price but for the engineer's model."""
        unpriced = speaker == "engineer"
        self.notebook.record_message(
            Message(
                id=f"{experiment.id}/{step}/{speaker}",
                run=RUN,
                experiment=experiment.id,
                time=time.time(),
                speaker=speaker,
                listener=listener,
                kind=step.partition(".")[0],
                text=spoken(reply),
                reply_json=reply.model_dump_json(),
                model=UNPRICED if unpriced else PRICED,
                prompt_tokens=None if unpriced else 1200,
                reply_tokens=None if unpriced else 90,
                seconds=1.5,
                dollars=None if unpriced else 0.0125,
            )
        )

    def lab_says(self, experiment: Experiment, step: str, listener: str, text: str) -> None:
        say(self.notebook, RUN, experiment.id, step, listener, text)


def completed(source: str, seed: int, score: float) -> Trial:
    return Trial(
        source_sha=source,
        seed=seed,
        device="cpu:0",
        outcome="completed",
        val_bpb=score,
        audit_bpb=round(score + 0.01 + 0.0004 * (seed % 2), 4),
        training_seconds=20.0,
        total_seconds=24.0,
        peak_memory_mb=1536.0,
        steps=412,
    )


def incumbent(
    number: int,
    source: str,
    experiment: str | None,
    val_bpb: float,
    certification: int | None = None,
) -> Incumbent:
    return Incumbent(
        certification=certification,
        number=number,
        source_sha=source,
        experiment=experiment,
        commit_sha=f"{number:040x}",
        val_bpb=val_bpb,
        since=time.time(),
    )


def short_night(path: Path) -> Notebook:
    """A baseline and an experiment of every ending, the last one still open."""
    notebook = Notebook(path)
    night = Night(notebook)
    night.measure_baseline()
    keep(night)
    discard(night)
    crash(night)
    duplicate(night)
    drop(night)
    stack_one(night)
    leave_open(night)
    notebook.set_worked_seconds(RUN, 540.0)
    return notebook


def keep(night: Night) -> Experiment:
    experiment = night.begin("optimizer")
    night.propose(experiment, "Double the matrix learning rate")
    candidate = night.patch(experiment, "learning_rate = 0.02", "learning_rate = 0.04")
    night.train(experiment, candidate, 1.2301)
    verdict = Verdict(decision="provisional", reason="", lesson="The rate was too timid.")
    night.close(experiment, verdict, 1.2301)
    night.certify((1.2318, 1.2312, 1.2316), (1.2415, 1.2405, 1.2410))
    return night.notebook.experiment(experiment.id)


def discard(night: Night) -> Experiment:
    experiment = night.begin("architecture", desk="desk 2")
    night.propose(experiment, NASTY_TITLE)
    candidate = night.patch(experiment, "width = 64", "width = 128")
    night.train(experiment, candidate, 1.2533)
    verdict = Verdict(decision="discard", reason="", lesson="Width costs more steps than it buys.")
    night.close(experiment, verdict, 1.2533)
    return experiment


def crash(night: Night) -> Experiment:
    experiment = night.begin("schedule")
    night.propose(experiment, "Warm up over the first 5 % of the budget")
    candidate = night.patch(experiment, "warmup = 0.0", "warmup = 5 / 0")
    trial = Trial(
        source_sha=source_sha(candidate),
        seed=1,
        device="cpu:0",
        outcome="crashed",
        reason="ZeroDivisionError: division by zero",
        total_seconds=3.0,
        peak_memory_mb=300.0,
        log_tail='Traceback:\n  File "train.py", line 3\n\x1b[31mZeroDivisionError\x1b[0m\n',
    )
    night.notebook.record_trial(f"{experiment.id}-1", RUN, experiment.id, "candidate", trial)
    reason = f"given up after 1 attempts: The trial ended as crashed: {trial.reason}"
    night.lab_says(experiment, "train.1.1", "engineer", reason)
    verdict = Verdict(decision="crash", reason=reason, lesson="Zero divides nothing.")
    night.close(experiment, verdict)
    return experiment


def duplicate(night: Night) -> Experiment:
    experiment = night.begin("architecture")
    night.propose(experiment, "Widen the model")
    night.patch(experiment, "width = 64", "width = 128", screened=False)
    objection = "'Widen the model' was tried already: experiment 2 ran the same program."
    night.lab_says(experiment, "screen.1.1", "optimizer", objection)
    night.close(experiment, Verdict(decision="discard", reason=objection))
    return experiment


def drop(night: Night) -> Experiment:
    """A change that was lucky on its one run."""
    experiment = night.begin("efficiency")
    night.propose(experiment, "Halve the width")
    candidate = night.patch(experiment, "width = 64", "width = 32")
    night.train(experiment, candidate, 1.2299)
    verdict = Verdict(decision="provisional", reason="", lesson="More steps, of a smaller model.")
    night.close(experiment, verdict, 1.2299)
    night.certify((1.2331, 1.2316), (1.2321, 1.2312))
    return night.notebook.experiment(experiment.id)


def stack_one(night: Night) -> Experiment:
    """A change that nothing is proven of yet."""
    experiment = night.begin("schedule")
    night.propose(experiment, "Warm up a little")
    candidate = night.patch(experiment, "warmup = 0.0", "warmup = 0.1")
    night.train(experiment, candidate, 1.2285)
    verdict = Verdict(decision="provisional", reason="", lesson="The first steps were too long.")
    night.close(experiment, verdict, 1.2285)
    return experiment


def leave_open(night: Night) -> Experiment:
    experiment = night.begin("regularisation", desk="desk 2")
    night.propose(experiment, "Decay the weights of the embeddings")
    return experiment
