"""One step of one experiment: what a node may do to the world, under ids that are known beforehand."""

from __future__ import annotations

import time

from org.config import HypothesisConfig, RoleConfig, Roles
from org.discussion import OnRecord, say
from org.lab import Lab
from org.notebook import Incumbent
from org.state import ExperimentState
from roles.model import Model
from roles.records import Digest, Verdict
from trainer.evidence import Evidence, weigh
from trainer.patch import Patch, apply_patch, diff, normalized_sha
from trainer.telemetry import digest
from trainer.trial import Trial

# Candidates are all tried under one seed; what decides is the fresh seed that confirms.
SEARCH_SEED = 1
CONFIRM_SEED = 1000
DISCUSSION_CHARACTERS = 8000


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
        """The hypothesis role of that name; direct() made sure that there is one."""
        return next(role for role in self.roles.hypothesis if role.name == name)

    def voice(self, person: RoleConfig) -> Model:
        """The model behind a role, on the record."""
        model = self.lab.models[person.name]
        return OnRecord(model, self.notebook, self.lab.run.id, self.experiment.id, self.name)

    def prompt(self, person: RoleConfig) -> str:
        return self.lab.prompts[person.name]

    def say(self, listener: str, text: str) -> None:
        """Keep what the lab itself says to a role."""
        say(self.notebook, self.lab.run.id, self.experiment.id, self.name, listener, text)

    def discussion(self) -> str:
        """The end of what was said in this experiment so far, for an adviser."""
        said = (f"{m.speaker}: {m.text}" for m in self.notebook.messages(self.experiment.id))
        return "\n\n".join(said)[-DISCUSSION_CHARACTERS:]

    def digest(self, program_sha: str) -> Digest:
        """The notebook as the roles see it, this experiment left out."""
        return self.lab.digest(program_sha, besides=self.experiment.id)

    # --- sources ----------------------------------------------------------------------------

    def tried_before(self, candidate: str) -> int | None:
        """The number of another experiment that had the same program, if one did."""
        known = self.notebook.known_sources(before=self.experiment)
        return known.get(normalized_sha(candidate))

    def keep_candidate(self, patch: Patch, head_sha: str, candidate: str) -> str:
        """Keep a patched train.py as this experiment's candidate; its SHA-256."""
        sha = self.notebook.keep_source(candidate)
        self.notebook.set_patch(
            self.experiment.id,
            patch,
            head_sha=head_sha,
            candidate_sha=sha,
            normalized_sha=normalized_sha(candidate),
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

    def next_trial(self, candidate_sha: str, head_sha: str) -> Trial:
        """Run the trial that the evidence asks for next; if it asks for none, the last one again.

        Raises:
            Stopped: the run was stopped before the trial ended.
        """
        done = self.notebook.trials_of(self.experiment.id, candidate_sha)
        if done and done[-1].outcome != "completed":
            return done[-1]
        if done and self.evidence(candidate_sha, head_sha).says != "confirm":
            return done[-1]
        purpose = "confirm" if done else "candidate"
        seed = CONFIRM_SEED + self.experiment.number if done else SEARCH_SEED
        trial_id = f"{self.experiment.id}-{candidate_sha[:8]}-{len(done) + 1}"
        source = self.notebook.source(candidate_sha)
        what = f"experiment {self.experiment.number}, {purpose} trial"
        trial = self.lab.measure(trial_id, source, seed, desk=self.experiment.desk, what=what)
        self.notebook.record_trial(trial_id, self.lab.run.id, self.experiment.id, purpose, trial)
        self.lab.onlooker.measured(what, trial)
        return trial

    def evidence(self, candidate_sha: str, head_sha: str) -> Evidence:
        """What the trials of a candidate and the fresh runs of its head say together."""
        done = self.notebook.trials_of(self.experiment.id, candidate_sha)
        scores = [trial.val_bpb for trial in done if trial.val_bpb is not None]
        return weigh(scores, self.notebook.fresh_runs(head_sha), self.lab.noise_bpb())

    def telemetry(self, candidate_sha: str) -> str:
        """How the last trial of a candidate in this experiment went; empty if there was none."""
        done = self.notebook.trials_of(self.experiment.id, candidate_sha)
        return digest(done[-1]) if done else ""

    def telemetry_of_head(self, head_sha: str) -> str:
        """How the latest trial went by which a head was judged, to hold another against it."""
        trial = self.notebook.latest_fresh_trial(head_sha)
        return digest(trial) if trial else ""

    # --- the end ----------------------------------------------------------------------------

    def close(self, verdict: Verdict, evidence: Evidence | None, state: ExperimentState) -> bool:
        """End the experiment, with a new incumbent for a keep; False if the incumbent has moved.

        The commit is made first, as an object that no branch points to; the notebook decides in
        one transaction; the branch follows the notebook. After a kill in between, opening the lab
        moves the branch to where the notebook says.
        """
        effect = evidence.effect if evidence else None
        with self.lab.moving:
            if verdict.decision == "keep" and evidence is not None:
                incumbent = self.lab.incumbent()
                if incumbent.source_sha != state["head_sha"]:
                    return False
                kept = self._kept(incumbent, verdict, evidence, state)
                self.notebook.close_experiment(self.experiment.id, verdict, effect, kept)
                self.lab.publish(kept)
            else:
                self.notebook.close_experiment(self.experiment.id, verdict, effect)
        closed = self.notebook.experiment(self.experiment.id)
        self.lab.onlooker.closed(closed, self.lab.incumbent())
        return True

    def _kept(
        self, incumbent: Incumbent, verdict: Verdict, evidence: Evidence, state: ExperimentState
    ) -> Incumbent:
        hypothesis = state["hypothesis"]
        message = (
            f"{hypothesis.title}\n\n{hypothesis.change}\n\nBecause: {hypothesis.mechanism}\n\n"
            f"Evidence: {evidence.text}\nLesson: {verdict.lesson}"
        )
        commit_sha = self.lab.lineage.write(
            self.notebook.source(state["candidate_sha"]),
            message,
            experiment_id=self.experiment.id,
            parent=incumbent.commit_sha,
        )
        return Incumbent(
            number=incumbent.number + 1,
            source_sha=state["candidate_sha"],
            experiment=self.experiment.id,
            commit_sha=commit_sha,
            val_bpb=evidence.candidate_bpb,
            since=time.time(),
        )
