"""Options and words that several verbs share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from harness.backends.attack_cases import check_attacks
from harness.model.errors import InputError
from harness.model.scenario import Cell, Scalar, Scenario
from harness.scenario import find_scenario, load_scenario
from harness.scenario.errors import nearest

_F = TypeVar("_F", bound=Callable[..., Any])

RESULTS = Path("results")
_MAX_FILE_BYTES = 64 * 1024 * 1024


def results_option(function: _F) -> _F:
    """``--results``: the folder with one folder per campaign."""
    option = click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        default=RESULTS,
        show_default=True,
        help="Folder that holds a folder per campaign.",
    )
    return option(function)


def json_option(function: _F) -> _F:
    """``--json``: for programs instead of people."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def read_scenario(name: str) -> tuple[Path, Scenario, str]:
    """File, content and text of the scenario ``name``, whose attacks all exist."""
    path = find_scenario(name)
    scenario, text = load_scenario(path)
    check_attacks(str(path), scenario)
    return path, scenario, text


def find_campaign(name: str, results: Path) -> Path:
    """The folder of campaign ``name``: a path, or the name of a folder in ``results``."""
    for folder in (Path(name), results / name):
        if (folder / "campaign.json").exists():
            return folder
    known = [folder.name for folder in campaigns_in(results)]
    raise InputError(
        f'no campaign "{name}" in {results}/; expected one of: {", ".join(known) or "none yet"}'
        + nearest(name, known)
    )


def campaigns_in(results: Path) -> list[Path]:
    """Folders of all campaigns, by name."""
    return [path.parent for path in sorted(results.glob("*/campaign.json"))]


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces; the last one is not padded."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(fraction: float) -> str:
    """A relative cost with its sign: ``+9.8 %``."""
    return f"{100 * fraction:+.2f} %"


def cell_name(cell: Cell) -> str:
    """``attestation ak=rsa2048 ima_entries=2000``."""
    return " ".join([cell.workload, *(f"{k}={_plain(v)}" for k, v in cell.factors.items())])


def _plain(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_file(path: Path, most: int = _MAX_FILE_BYTES) -> bytes:
    """A file named on the command line, of at most ``most`` bytes. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise InputError(f"{path}: larger than {most >> 20} MiB")
    return data
