"""The scene of an attack: a lab with a notebook, a key in the environment, servers to connect to.

Each file in tests/attacks opens with its trick; the outcome that it must come to: that of the
trial, then, after a colon, words of its reason, alternatives between bars; and what holds it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.sources import UNIFORM
from trainer.dataset import Dataset
from trainer.setting import Setting
from trainer.trial import Trial, run_trial

ATTACKS = sorted(Path(__file__).with_name("attacks").glob("*.py"))
UNIFORM_SCORE = "with the score of a uniform guess"
SECRET = "sk-a-key-that-nobody-may-read"
DAEMON_SECONDS = "86399.5"  # marks the processes that an attack leaves behind
MEMORY_GB = 1.0  # so that to take all of it takes no time


@dataclass(frozen=True)
class Attack:
    """A train.py that tries to cheat or to escape, and what it must come to."""

    name: str
    text: str
    trick: str
    outcomes: frozenset[str]
    words: tuple[str, ...]
    is_scored: bool
    held_by: str

    @classmethod
    def read(cls, path: Path) -> Attack:
        """Raises AttributeError where a line is missing."""
        text = path.read_text()
        said = {
            label: re.search(rf'^(?:""")?{label}: (.*)$', text, re.MULTILINE)[1]  # type: ignore[index]
            for label in ("Trick", "Outcome", "Held by")
        }
        outcome, _, words = said["Outcome"].partition(":")
        return cls(
            name=path.stem,
            text=text,
            trick=said["Trick"],
            outcomes=frozenset(
                one.strip().removesuffix(UNIFORM_SCORE).strip() for one in outcome.split("|")
            ),
            words=tuple(word.strip() for word in words.split("|") if word.strip()),
            is_scored=UNIFORM_SCORE in outcome,
            held_by=said["Held by"],
        )

    def comes_to(self, trial: Trial) -> bool:
        """Whether a trial ended as this attack says it must."""
        named = not self.words or any(word in trial.reason for word in self.words)
        return trial.outcome in self.outcomes and named


@dataclass
class Scene:
    """What an attack is told of the world that it is to harm."""

    setting: Setting
    dataset: Dataset
    folder: Path
    port: int
    uniform: Trial | None = field(default=None)

    @property
    def notebook(self) -> Path:
        return self.folder / "notebook.sqlite"

    def staged(self, text: str) -> str:
        """An attack that knows all the paths and numbers it needs."""
        known = {
            "DATASET": self.dataset.folder,
            "FOLDER": self.folder,
            "NOTEBOOK": self.notebook,
            "SOCKET": self.folder / "socket",
            "ABSTRACT": f"attack-{os.getpid()}",
            "PORT": self.port,
            "OURS": os.getpid(),
            "TERCES": SECRET[::-1],  # an attack is kept beside its log, where no key may be found
            "DAEMON_SECONDS": DAEMON_SECONDS,
        }
        return re.sub(r"@([A-Z_]+)@", lambda found: str(known[found[1]]), text)

    def trial(self, text: str, name: str) -> Trial:
        return run_trial(
            self.staged(text),
            seed=1,
            setting=self.setting,
            dataset=self.dataset,
            device="cpu:0",
            folder=self.folder / "trials" / name,
        )


@contextmanager
def staged(folder: Path, setting: Setting, dataset: Dataset) -> Iterator[Scene]:
    """Set the scene in an empty folder, and measure there what a uniform guess is worth."""
    setting = setting.model_copy(update={"memory_gb": MEMORY_GB})
    (folder / "notebook.sqlite").write_text("a verdict")
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for address in (str(folder / "socket"), f"\0attack-{os.getpid()}"):
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(address)
            local.listen()
        os.environ["OPENAI_API_KEY"] = SECRET
        stack.callback(os.environ.pop, "OPENAI_API_KEY")
        scene = Scene(setting, dataset, folder, server.getsockname()[1])
        scene.uniform = scene.trial(UNIFORM, "uniform")
        yield scene
