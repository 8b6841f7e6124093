"""The commands of `python -m org`; each one short, each calls one function elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

CONFIG = click.option(
    "--config",
    "-c",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("org.yaml"),
    show_default=True,
    help="The organization.",
)
LAB = click.option(
    "--lab",
    type=click.Path(path_type=Path),
    help="The folder of the run; the one that org.yaml names if left out.",
)
NUMBER = click.argument("number", type=int, required=False)
ALL = click.option("--all", "everything", is_flag=True, help="All, and not the latest alone.")


class Commands(click.Group):
    """Commands in the order in which a person needs them; a mistyped one is answered with the nearest."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run a command; an error that a user can mend is one clear line and exit code 2."""
        try:
            return super().invoke(context)
        except mendable() as error:
            click.secho(str(error), fg="red", err=True)
            sys.exit(2)


def mendable() -> tuple[type[Exception], ...]:
    """What a user can mend; looked up only once something has gone wrong."""
    from org.config_reading import ConfigError
    from org.init import InitError
    from org.lab import LabError
    from org.lineage import LineageError
    from roles.model import ModelError
    from trainer.corpus import CorpusError
    from trainer.download import DownloadError

    return (
        *(ConfigError, InitError, LabError, LineageError),
        *(ModelError, CorpusError, DownloadError),
    )


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  python -m org run                    start, or go on with what was interrupted
  python -m org run --lab labs/second  the same organization in another lab
  python -m org notebook show 3        everything about experiment 3
  python -m org replay 3               who said what to whom
  python -m org say "try a wider MLP"  to the director, who answers in the next experiment
  python -m org diff                   what the night changed in train.py""",
)
def main() -> None:
    """A research organization that improves train.py, and says how sure it is."""


@main.command(
    epilog="""\b
Examples:
  python -m org run
  python -m org run --config my/org.yaml --lab labs/tonight"""
)
@CONFIG
@LAB
def run(config_path: Path, lab: Path | None) -> None:
    """Run the organization until its budget is spent, or go on where it was stopped.

    Ctrl-C finishes the trials at hand and stops; a second Ctrl-C abandons them. In both cases the
    same command goes on later, and nothing is lost. With `model: replay:LAB` the exit code is 3 if
    anyone read something else, figures apart, than was recorded. `say`, `pause`, `resume` and `stop` steer it
    from another terminal.
    """
    from org.running import run_here

    sys.exit(run_here(config_path, lab))


@main.command()
@CONFIG
@LAB
def check(config_path: Path, lab: Path | None) -> None:
    """Say whether everything is there to run: config, corpus, device, endpoint, disk.

    With --lab of a lab that has begun, look at that lab instead: is its notebook intact, does every
    verdict follow from its recorded trials, do notebook, git and files agree? It only reads, also
    while a run goes on; the exit code is 1 where something does not hold.
    """
    from org.checkup import checkup
    from org.notebook import is_lab
    from org.verifying import verify

    findings = []
    begun = lab if lab and is_lab(lab) else None
    for finding in verify(begun) if begun else checkup(config_path, lab):
        findings.append(finding)
        mark = click.style("ok " if finding.ok else "no ", fg="green" if finding.ok else "red")
        click.echo(f"{mark} {finding.name:<10} {finding.text}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1 if begun else 2)


@main.command()
@click.option("--live", is_flag=True, help="Show it anew every other second, until Ctrl-C.")
@CONFIG
@LAB
def status(live: bool, config_path: Path, lab: Path | None) -> None:
    """Where the lab stands: what is kept, does it hold on the audit text, what goes on, how fast."""
    from org.reading import reading
    from org.telling.status import status as told
    from org.telling.status import watch

    with reading(config_path, lab) as book:
        if live:
            from rich.console import Console

            with suppress(KeyboardInterrupt):
                watch(book, Console())
        else:
            _print(told(book))


@main.command(
    epilog="""\b
Examples:
  python -m org say "look at the schedule, the warm-up seems long"
  python -m org say "WARMUP is worth a try" --lab labs/tonight
  python -m org status             whether it is answered, and how"""
)
@click.argument("words", nargs=-1, required=True)
@CONFIG
@LAB
def say(words: tuple[str, ...], config_path: Path, lab: Path | None) -> None:
    """Leave a note for the director, who reads it before the next direction and answers it there.

    It ranks with program.md, for that one direction. `status`, `replay` and `notebook show N` have
    the answer. Without a run it waits for the next.
    """
    from org.notes import leave_note, this_person
    from org.reading import reading

    with reading(config_path, lab, writing=True) as book:
        note = leave_note(book, " ".join(words), this_person())
    click.echo(f"Note {note.number} waits for the director of the next experiment.")


@main.command(
    epilog="""\b
Examples:
  python -m org pause       the device is needed for something else
  python -m org resume      it is free again"""
)
@CONFIG
@LAB
def pause(config_path: Path, lab: Path | None) -> None:
    """Let the run in this lab finish what runs and begin nothing new, until `resume`.

    No new experiment begins and no new trial gets a device. The hours of a pause are not charged
    to the budget. It outlasts a stop and a restart, and may be given before a run.
    """
    from org import steering

    _steer(steering.pause, config_path, lab)


@main.command(epilog="""\b\nExample:\n  python -m org resume --lab labs/tonight""")
@CONFIG
@LAB
def resume(config_path: Path, lab: Path | None) -> None:
    """Let a paused run go on."""
    from org import steering

    _steer(steering.resume, config_path, lab)


@main.command(
    epilog="""\b
Examples:
  python -m org stop         as Ctrl-C in the terminal of the run
  python -m org stop --now   as a second Ctrl-C
  python -m org run          go on where it stopped"""
)
@click.option("--now", is_flag=True, help="Abandon the trials at hand; they are run again later.")
@CONFIG
@LAB
def stop(now: bool, config_path: Path, lab: Path | None) -> None:
    """Stop the run in this lab: the trials at hand are finished, and `run` goes on later."""
    from org import steering

    _steer(partial(steering.stop, now=now), config_path, lab)


@main.command(
    epilog="""\b
Examples:
  python -m org diff 3       what experiment 3 wants to try
  python -m org approve 3    it may
  python -m org approve      the only one that waits may"""
)
@NUMBER
@CONFIG
@LAB
def approve(number: int | None, config_path: Path, lab: Path | None) -> None:
    """Let the patch of experiment NUMBER be tried, where org.yaml says `approval: true`.

    `status` says what waits. Without a run the answer is found by the next.
    """
    from org.approval import answer
    from org.notes import this_person
    from org.reading import reading

    with reading(config_path, lab, writing=True) as book:
        question = answer(book, number, this_person(), approved=True)
    click.echo(f"The patch of experiment {question.number} may be tried.")


@main.command(
    epilog="""\b
Example:
  python -m org reject 3 "the embedding is not to be touched"
"""
)
@click.argument("number", type=int)
@click.argument("reason", nargs=-1, required=True)
@CONFIG
@LAB
def reject(number: int, reason: tuple[str, ...], config_path: Path, lab: Path | None) -> None:
    """Send the patch of experiment NUMBER back to the engineer with a REASON, as a reviewer would."""
    from org.approval import answer
    from org.notes import this_person
    from org.reading import reading

    with reading(config_path, lab, writing=True) as book:
        answer(book, number, this_person(), approved=False, reason=" ".join(reason))
    click.echo(f"The patch of experiment {number} goes back to the engineer.")


@main.command()
@CONFIG
@LAB
@click.option("--runs", type=click.IntRange(2), default=6, show_default=True, help="Of each kind.")
def noise(config_path: Path, lab: Path | None, runs: int) -> None:
    """Measure where the noise comes from: the baseline with the same and with different seeds.

    Runs the baseline four times --runs times: with the same seed, another order of the text, other
    first weights, and both. What was run before in the lab is found again.
    """
    from org.config_reading import load_config
    from org.repeating import repeat, report

    config = load_config(config_path)
    series = repeat(config, lab or config.lab, runs, click.echo)
    click.echo("\n" + "\n".join(report(series)))


@main.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  python -m org notebook
  python -m org notebook show 3
  python -m org notebook search "learning rate"
  python -m org notebook export --format tsv > results.tsv""",
)
@CONFIG
@LAB
@ALL
@click.pass_context
def notebook(context: click.Context, config_path: Path, lab: Path | None, everything: bool) -> None:
    """Read the lab notebook: list (the default), show N, search WORDS, export."""
    if context.invoked_subcommand is None:
        context.invoke(list_experiments, config_path=config_path, lab=lab, everything=everything)
    # What stands before a command's name holds where nothing stands after it.
    told = {"config_path": config_path, "lab": lab, "everything": everything}
    context.default_map = dict.fromkeys(notebook.commands, told)


@notebook.command("list")
@CONFIG
@LAB
@ALL
def list_experiments(config_path: Path, lab: Path | None, everything: bool) -> None:
    """The latest experiments, the baseline first."""
    from org.reading import reading
    from org.telling.reports import experiments_report

    with reading(config_path, lab) as book:
        _print(experiments_report(book, everything=everything))


@notebook.command()
@click.argument("number", type=int)
@CONFIG
@LAB
def show(number: int, config_path: Path, lab: Path | None) -> None:
    """Everything about experiment NUMBER."""
    from org.reading import reading
    from org.telling.dossier import one_experiment

    with reading(config_path, lab) as book:
        _print(one_experiment(book, number))


@notebook.command()
@click.argument("words", nargs=-1, required=True)
@CONFIG
@LAB
def search(words: tuple[str, ...], config_path: Path, lab: Path | None) -> None:
    """Experiments and messages in which all WORDS occur."""
    from org.reading import reading
    from org.telling.search import found

    with reading(config_path, lab) as book:
        _print(found(book, " ".join(words)))


@notebook.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["tsv", "csv", "json", "md"]),
    default="tsv",
    show_default=True,
    help="tsv has the five columns of autoresearch's results.tsv.",
)
@CONFIG
@LAB
def export(form: Any, config_path: Path, lab: Path | None) -> None:
    """The notebook as a table on standard output."""
    from org.reading import reading
    from org.telling.export import export as table

    with reading(config_path, lab) as book:
        for part in table(book, form):
            click.echo(part, nl=False)


@main.command(
    epilog="""\b
Examples:
  python -m org replay             the latest experiments, as they went
  python -m org replay --all       everything
  python -m org replay 3           experiment 3
  python -m org replay --follow    go on as the discussion goes on"""
)
@NUMBER
@click.option("--follow", "-f", is_flag=True, help="Go on while the run goes on.")
@ALL
@CONFIG
@LAB
def replay(
    number: int | None, follow: bool, everything: bool, config_path: Path, lab: Path | None
) -> None:
    """The discussion of experiment NUMBER, or of the latest: who said what, when, at what cost."""
    from org.reading import reading
    from org.telling.replay import replay as told

    with reading(config_path, lab) as book, suppress(KeyboardInterrupt):
        for part in told(book, number, follow=follow, everything=everything):
            _print(part)


@main.command(
    epilog="""\b
Examples:
  python -m org diff      the incumbent against the baseline
  python -m org diff 3    what experiment 3 changed"""
)
@NUMBER
@CONFIG
@LAB
def diff(number: int | None, config_path: Path, lab: Path | None) -> None:
    """What changed in train.py: incumbent against baseline, or by experiment NUMBER."""
    from org.reading import reading
    from org.telling.changes import changes, coloured

    with reading(config_path, lab) as book:
        changed = changes(book, number)
    if not changed:
        nothing = (
            "no patch that fits" if number else "nothing is kept yet: train.py is the baseline"
        )
        click.echo(nothing, err=True)
    elif sys.stdout.isatty():
        _print(coloured(changed))
    else:
        click.echo(changed, nl=False)


@main.command()
@CONFIG
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid"]),
    default="text",
    show_default=True,
    help="For a terminal, or for a page.",
)
def graph(config_path: Path, form: str) -> None:
    """Draw the organization chart of org.yaml."""
    from org.config_reading import load_config
    from org.telling import drawing

    config = load_config(config_path, to_run=False)
    click.echo(drawing.mermaid(config) if form == "mermaid" else drawing.text(config))


@main.command()
def schema() -> None:
    """The JSON schema of org.yaml, for editors."""
    from org.config import schema_text

    click.echo(schema_text(), nl=False)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a new organization into DIR, to be edited."""
    from org.init import write_organization

    for path in write_organization(folder):
        click.echo(f"wrote {path}")
    click.echo(f"Edit them, then: python -m org run --config {folder / 'org.yaml'}")


def _steer(give: Callable[[Any, Path, str], str], config_path: Path, lab: Path | None) -> None:
    """Give an order to the run of a lab, in the name of who sits here, and say what comes of it."""
    from org.notes import this_person
    from org.reading import folder_of, reading

    with reading(config_path, lab, writing=True) as book:
        click.echo(give(book, folder_of(config_path, lab), this_person()))


def _print(what: Any) -> None:
    # rich is imported by the commands that print with it, so that --help stays quick.
    from rich.console import Console

    Console().print(what)
