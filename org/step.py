"""One step of one experiment: what a node may do to the world, under ids that are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import TypeVar

from org.approval import answer_to, questions
from org.config import HypothesisConfig, RoleConfig, Roles
from org.discussion import OnRecord, id_of, say
from org.head import below, head_sha, head_value, judge, search_seed
from org.lab import PERSON_LOOK_SECONDS, Lab
from org.measuring import Asker, measure, on_device, try_out, try_out_on
from org.notes import answer_notes, notes_of, take_notes
from org.reference import measure_reference
from org.stack import Pushed, ask_for_certification, push
from org.state import ExperimentState
from org.steady import is_disturbed
from roles.model import Model
from roles.quoting import readable
from roles.records import Digest, Direction, Note, Screening, Verdict
from trainer.devices import Lease
from trainer.evidence.effect import Effect
from trainer.evidence.stack import Placement
from trainer.patch import Patch, apply_patch, diff
from trainer.source import normalized_sha
from trainer.telemetry import digest
from trainer.trial import Trial

T = TypeVar("T")


class Step:
    """A step, named the same on every run of its node: `direct`, `engineer.1.2`.

    Raises:
        Stopped: the run is being stopped, and no new step is begun.
    """

    def __init__(self, lab: Lab, experiment: str, name: str) -> None:
        lab.check_stop()
        self.lab = lab
        self.notebook = lab.notebook
        self.experiment = lab.notebook.experiment(experiment)
        self.name = name
        self.what = f"experiment {self.experiment.number}, {name.partition('.')[0]}"
        lab.onlooker.doing(self.experiment.desk, self.what)

    # --- people -----------------------------------------------------------------------------

    @property
    def roles(self) -> Roles:
        return self.lab.config.roles

    def hypothesis_role(self, name: str) -> HypothesisConfig:
        """The hypothesis role of that name; another where a person has renamed or removed it since."""
        first, *_ = roles = self.roles.hypothesis
        role = next((role for role in roles if role.name == name), None)
        if role is None:
            self.lab.onlooker.note(
                f"{self.what}: there is no {name} any more; {first.name} goes on"
            )
        return role or first

    def voice(self, person: RoleConfig) -> Model:
        """The model behind a role, on the record."""
        model = self.lab.models[person.name]
        experiment = self.experiment
        return OnRecord(
            model, self.notebook, self.lab.run.id, experiment.id, self.name, experiment.number
        )

    def prompt(self, person: RoleConfig) -> str:
        return self.lab.prompts[person.name]

    def say(self, listener: str, text: str) -> None:
        """Keep what the lab itself says to a role."""
        say(self.notebook, self.lab.run.id, self.experiment.id, self.name, listener, text)

    def notes(self, person: RoleConfig) -> tuple[Note, ...]:
        """What a person has said to the director; once they have spoken, only what they had read."""
        spoken = self.notebook.message(id_of(self.experiment.id, self.name, person.name))
        read = notes_of if spoken else take_notes
        return tuple(note.as_read() for note in read(self.notebook, self.experiment.id))

    def set_direction(self, direction: Direction, program_sha: str, head_sha: str) -> None:
        """Keep the direction and, in the same moment, what it answers."""
        with self.notebook.transaction():
            self.notebook.set_direction(self.experiment.id, direction, program_sha, head_sha)
            answer_notes(self.notebook, self.experiment.id, direction.answer)

    def ask_person(self) -> Screening:
        """Ask whether the candidate may be tried, and wait for a person's answer.

        Raises:
            Stopped: the run was stopped before there was one; the question stays.
        """
        self.say("person", f"May this be tried? {self.experiment.summary or ''}".strip())
        with self.lab.at_work.waiting():
            for question in questions(self.notebook):
                if question.experiment == self.experiment.id:
                    self.lab.onlooker.note(question.spoken)
                    self.lab.onlooker.doing(
                        self.experiment.desk, f"{self.what}: waits for a person"
                    )
            while (answer := answer_to(self.notebook, self.experiment.id, self.name)) is None:
                self.lab.stop.wait(PERSON_LOOK_SECONDS)
                self.lab.check_stop()
        return answer

    def discussion(self) -> str:
        """What was said in this experiment so far, for an adviser.

        Words stand farther in than their speaker, so that nobody can speak in another's name.
        """
        return "\n\n".join(
            f"{m.speaker} to {m.listener}:\n{indent(readable(m.text), '  ')}"
            for m in self.notebook.messages(self.experiment.id)
        )

    def digest(self, program_sha: str) -> Digest:
        """The notebook as the roles see it, this experiment left out."""
        return self.lab.digest(program_sha, besides=self.experiment.number)

    # --- sources ----------------------------------------------------------------------------

    def tried_before(self, candidate: str) -> int | None:
        """The number of another experiment that had the same program, if one did."""
        return self.notebook.tried_before(normalized_sha(candidate), before=self.experiment)

    def keep_candidate(self, patch: Patch, head_sha: str, candidate: str) -> str:
        """Keep a patched train.py as this experiment's candidate; its SHA-256."""
        normalized = normalized_sha(candidate)
        with self.notebook.transaction():
            sha = self.notebook.keep_source(candidate)
            self.notebook.set_patch(
                self.experiment.id,
                patch,
                head_sha=head_sha,
                candidate_sha=sha,
                normalized_sha=normalized,
            )
        return sha

    def rebase(self, patch: Patch, head_sha: str) -> str:
        """Put a patch on top of another head; the SHA-256 of the new candidate.

        Raises:
            PatchError: it does not apply there.
        """
        candidate = apply_patch(patch, self.notebook.source(head_sha))
        return self.keep_candidate(patch, head_sha, candidate)

    def diff_so_far(self) -> str:
        """What the latest candidate changes in the head it was put on; empty if no patch fitted."""
        head_sha, candidate_sha = self.experiment.head_sha, self.experiment.candidate_sha
        if head_sha is None or candidate_sha is None:
            return ""
        return diff(self.notebook.source(head_sha), self.notebook.source(candidate_sha))

    # --- trials -----------------------------------------------------------------------------

    def smoke_test(self, candidate_sha: str, device: Lease | None = None) -> Trial:
        """Whether the candidate runs at all: found out in seconds, and recorded as no trial.

        Raises:
            Stopped: the run was stopped before that was known.
        """
        test_id = f"{self.experiment.id}-{candidate_sha[:8]}"
        source, asker = self.notebook.source(candidate_sha), self._asker("candidate")
        if device:
            return try_out_on(self.lab, asker, device, test_id, source)
        return try_out(self.lab, asker, test_id, source)

    def on_device(self, work: Callable[[Lease], T], *, urgent: bool) -> T:
        """Do some work with the next free device, when it is this candidate's turn.

        What the director said to be ``urgent`` comes before other candidates.

        Raises:
            Stopped: the run was stopped before the work was done.
        """
        return on_device(self.lab, self._asker("candidate trial")._replace(urgent=urgent), work)

    def _asker(self, what: str) -> Asker:
        what = f"experiment {self.experiment.number}, {what}"
        return Asker(self.experiment.desk, what, self.experiment.id)

    def measure_reference(self, device: Lease) -> None:
        """See `org.reference.measure_reference`."""
        measure_reference(self.lab, self.experiment.desk, device)

    def trial(self, candidate_sha: str, device: Lease) -> Trial:
        """Run the candidate on a device, once; a run that was done before is found again.

        Once for each incumbent: with another one candidates are tried under another seed.
        One that was visibly disturbed is repeated under the same seed, once, and only the second
        counts.

        Raises:
            TrialAbandoned, TrialLost: see `trainer.trial.run_trial`.
        """
        with self.notebook.transaction():
            now = search_seed(self.notebook), self.lab.incumbent().number
            seed = self.notebook.settle_seed(self.experiment.id, *now)
        # Not by `org.undisturbed`: both runs stay on record as the experiment's, where the last one
        # counts. A new source has no share of repeats to keep to, and what one wins that only looks
        # disturbed is a second run, which no certification counts.
        every = self.notebook.trials_of(self.experiment.id, candidate_sha)
        done = [trial for trial in every if trial.seed == seed]
        if done and not (len(done) == 1 and is_disturbed(self.notebook, done[0])):
            return done[-1]
        trial_id = f"{self.experiment.id}-{candidate_sha[:8]}-{seed}-{len(done) + 1}"
        source = self.notebook.source(candidate_sha)
        asker = self._asker(f"{'again' if done else 'candidate'} trial")
        trial = measure(self.lab, asker, device, trial_id, source, seed)
        self.notebook.record_trial(
            trial_id, self.lab.run.id, self.experiment.id, "candidate", trial
        )
        self.lab.onlooker.measured(asker.what, trial)
        if not done and is_disturbed(self.notebook, trial):
            self.lab.onlooker.note(f"{asker.what}: the machine was visibly disturbed; once more")
            return self.trial(candidate_sha, device)
        return trial

    def ground(self) -> ExperimentState:
        """What a candidate is put on and held against, now: the head, and the incumbent under it."""
        with self.notebook.transaction():
            incumbent = self.lab.incumbent().number
            return {"head_sha": head_sha(self.notebook), "incumbent": incumbent}

    def judged(self, state: ExperimentState) -> tuple[Placement, Effect] | None:
        """What the candidate's run says against the head, and the effect with its uncertainty.

        None if the incumbent has moved since it was run, or the head and it would be stacked: then
        it is to be run on top of what came. One that loses to the head it had, loses.
        """
        with self.lab.moving, self.notebook.transaction():
            return self._judged(state)

    def _judged(self, state: ExperimentState) -> tuple[Placement, Effect] | None:
        head, now = state["head_sha"], self.ground()
        if now["incumbent"] != state.get("incumbent") or below(self.notebook, head) is None:
            return None
        trial = self.notebook.trials_of(self.experiment.id, state["candidate_sha"])[-1]
        assert trial.val_bpb is not None
        placement, effect = judge(
            self.notebook,
            self.lab.setting.profile,
            self.experiment.id,
            trial.val_bpb,
            trial.seed,
            self.experiment.patch.lines_added,
            head,
        )
        has_moved = now["head_sha"] != head
        return None if has_moved and placement.says == "stack" else (placement, effect)

    def telemetry(self, candidate_sha: str) -> str:
        """How the last trial of a candidate in this experiment went; empty if there was none."""
        done = self.notebook.trials_of(self.experiment.id, candidate_sha)
        return digest(done[-1]) if done else ""

    def telemetry_of_source(self, source_sha: str) -> str:
        """How the latest trial of a source went, whatever it was for; empty if there was none."""
        trial = self.notebook.latest_trial(source_sha)
        return digest(trial) if trial else ""

    def telemetry_of_head(self, head_sha: str) -> str:
        """How the latest trial went by which a head was judged, to hold another against it."""
        trial = self.notebook.latest_fresh_trial(head_sha)
        return digest(trial) if trial else ""

    # --- the end ----------------------------------------------------------------------------

    def close(
        self, verdict: Verdict, effect: Effect | None, state: ExperimentState, asked: str
    ) -> None:
        """End the experiment with nothing on the stack.

        ``asked`` is why the head that it was held against is to be certified, "" if it is not.
        """
        bpb, error = (effect.bpb, effect.error) if effect else (None, None)
        with self.notebook.transaction():
            self.notebook.close_experiment(self.experiment.id, verdict, bpb, error)
            if asked:
                ask_for_certification(self.notebook, state["head_sha"], asked)
        self._told()

    def stack(self, verdict: Verdict, state: ExperimentState, asked: str) -> bool:
        """Put the candidate on the stack and end the experiment; False if the head has moved.

        What is known has moved on while it was reviewed: so it is judged again, and False too if
        it is not better any more.
        ``asked`` is why the stack is to be certified with it, "" if it is not.
        """
        with self.lab.moving, self.notebook.transaction():
            judged = self._judged(state)
            if judged is None or judged[0].says != "stack":
                return False
            placement, effect = judged
            push(
                self.notebook,
                Pushed(
                    run=self.lab.run.id,
                    experiment=self.experiment.id,
                    head_sha=state["head_sha"],
                    source_sha=state["candidate_sha"],
                    effect_bpb=effect.bpb,
                    error_bpb=effect.error,
                    expected_bpb=placement.expected_bpb,
                    lines_added=state["patch"].lines_added,
                    asked=asked,
                ),
                verdict,
            )
        self._told()
        return True

    def _told(self) -> None:
        profile, seed = self.lab.setting.profile, search_seed(self.notebook)
        closed = self.notebook.experiment(self.experiment.id)
        self.lab.onlooker.closed(closed, head_value(self.notebook, profile, seed))
