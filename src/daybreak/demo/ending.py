"""The end of the demo: what happened, in one table, and how to go on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.cli.output import table
from daybreak.demo.stage import APPLICATION, DATABASE, Stage

_HEADERS: Final = ("step", "time", "size", "rows", "what came of it")
_UNDER: Final = "  └ "


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the table; `part` of the one above it."""

    step: str
    time: str = ""
    size: str = ""
    rows: str = ""
    result: str = ""
    part: bool = False

    def cells(self) -> tuple[str, str, str, str, str]:
        """As the table shows it."""
        return (f"{_UNDER if self.part else ''}{self.step}", self.time, self.size, self.rows, self.result)


def show_table(lines: Sequence[Line]) -> None:
    """The table on stdout: drawn on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        sys.stdout.write(f"\n{table(_HEADERS, [line.cells() for line in lines])}\n")
        sys.stdout.flush()
        return
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 -- slow to import, wanted on a terminal only
    from rich.console import Console  # noqa: PLC0415 -- see above
    from rich.table import Table  # noqa: PLC0415 -- see above

    drawn = Table(box=SIMPLE_HEAD, highlight=False, padding=(0, 1), pad_edge=False)
    for header in _HEADERS:
        drawn.add_column(header, justify="right" if header in _HEADERS[1:4] else "left", no_wrap=header != _HEADERS[4])
    for line in lines:
        drawn.add_row(*line.cells(), style="" if line.part else "bold")
    console = Console(markup=False)
    console.print()
    console.print(drawn)


def how_to_go_on(stage: Stage, strangers: Sequence[str]) -> str:
    """What a person can try while the servers run; `strangers` are variables that would lead elsewhere."""
    daybreak = _shown(Path(sys.executable).with_name("daybreak"))
    psql = shlex.quote(str(stage.dev.bin / "psql"))
    as_application = f"host={stage.dev.host} port={stage.dev.port} user={APPLICATION} dbname={DATABASE}"
    first = f"unset {' '.join(strangers)}; " if strangers else ""
    return f"""
Everything keeps running below {stage.folder} until Ctrl-C here. In another terminal:

  {first}export DAYBREAK_CONFIG={shlex.quote(str(stage.config))}
  {daybreak} status
  {daybreak} runs
  {daybreak} archives
  {daybreak} archive read {shlex.quote(str(stage.archive))}
  {daybreak} repository snapshots
  {daybreak} refresh --plan
  {daybreak} refresh --fresh
  {daybreak} undo

  production   {psql} -d {shlex.quote(stage.prod.conninfo(DATABASE))}
  development  {psql} -d {shlex.quote(stage.dev.conninfo(DATABASE))}
  application  {psql} -d {shlex.quote(as_application)}

  logs         {stage.folder}/state/logs/ (one for each run), {stage.prod.log}, {stage.dev.log}
"""


def _shown(program: Path) -> str:
    """A program as it is typed from here."""
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
