"""The commands of `python -m org`; each one short, each calls one function elsewhere."""

from __future__ import annotations

import sys
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
    from org.config import ConfigError
    from org.init import InitError
    from org.lab import LabError
    from org.lineage import LineageError
    from trainer.corpus import CorpusError
    from trainer.download import DownloadError

    return ConfigError, InitError, LabError, LineageError, CorpusError, DownloadError


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  python -m org run                    start, or go on with what was interrupted
  python -m org run --lab labs/second  the same organization in another lab
  python -m org notebook show 3        everything about experiment 3
  python -m org replay 3               who said what to whom
  python -m org diff                   what the night changed in train.py""",
)
def main() -> None:
    """A research organization that improves train.py, and says how sure it is."""
