"""All experiments in a table that fits a terminal, and what they came to together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from org.figures import counted, duration
from org.notebook import Notebook
from org.telling.cells import COLUMNS, certificates, headline, on_the_stack, rows, totals
from org.telling.results import Results, read_results

# What a colour means, wherever a decision is shown.
COLOURS = {
    "keep": "green",
    "provisional": "yellow",
    "dropped": "default",
    "discard": "default",
    "crash": "red",
    "open": "cyan",
}

LATEST, CERTIFIED = 50, 10  # experiments and certifications that are shown unless all are asked for

WIDE = 110  # columns of a terminal, from which on everything has a column of its own
FOLDED = ("experiment", "what it says")  # columns whose words go on in the next line
WORDS = (*FOLDED, "category", "decision", "where", "purpose", "outcome", "device", "role")
LESSER = ("category", "trials", "min", "cost")  # what gives way in a narrower one


def experiments_report(notebook: Notebook, *, everything: bool = False) -> RenderableType:
    """The latest experiments in a table that fits the terminal, and what all came to together.

    With ``everything`` all of them. A notebook in which nothing has happened yet is one line.
    """
    results = read_results(notebook) if everything else read_results(notebook, LATEST, CERTIFIED)
    if not results.trials_count and not results.experiments:
        return Text(headline(results))
    style = "bold green" if results.improvement else "bold"
    came_to, took = totals(results).split(" · ", 1)
    took += f" · {duration(results.device_seconds)} of device time"
    lines = [Text(line, "dim") for line in certificates(results)]
    if stacked := on_the_stack(results):
        lines.append(Text(stacked, "yellow"))
    lines.append(Text(headline(results), style))
    if results.left_out:
        latest = f"the latest {len(results.experiments)} of {results.experiments_count:,}"
        lines.insert(0, Text(f"These are {latest} experiments; --all shows them all.", "dim"))
    return Group(_Fitting(results), Text(), *lines, Text(came_to), Text(took))


@dataclass(frozen=True)
class _Fitting:
    """A table that is made when the width of the terminal is known."""

    results: Results

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield experiments_table(self.results, options.max_width)


def experiments_table(results: Results, width: int) -> Table:
    """One row for each experiment, the baseline first, for a terminal of so many columns.

    A narrow one has the lesser columns in a line of their own under the title. What things cost
    is said where anything cost money, or may have.
    """
    said = [column for column in COLUMNS if column != "cost" or any(results.cost)]
    columns = said if width >= WIDE else [column for column in said if column not in LESSER]
    table = listing(*columns)
    for row in rows(results.baseline, results.experiments):
        colour = COLOURS.get(row["decision"], "")
        styles = {
            "decision": colour,
            "effect (1 run)": colour if row["decision"] in ("keep", "provisional") else "",
        }
        cells = [Text(row[column], styles.get(column, "")) for column in columns]
        if columns is not said:
            lesser = ", ".join(_lesser(row))
            cells[columns.index("experiment")].append(f"\n{lesser}", "dim")
        table.add_row(*cells)
    return table


def _lesser(row: dict[str, str]) -> Iterator[str]:
    """The lesser columns of a row in words; what is not there is not mentioned."""
    if row["category"]:
        yield row["category"]
    if trials_count := int(row["trials"]):
        yield counted(trials_count, "trial")
    yield f"{row['min']} min"
    if row["cost"] not in ("", "$0"):
        yield row["cost"]


def listing(*columns: str) -> Table:
    """An empty table without boxes: words stand to the left, figures to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        words = column in WORDS
        table.add_column(
            column,
            justify="left" if words else "right",
            no_wrap=column not in FOLDED,
            overflow="fold",
        )
    return table
