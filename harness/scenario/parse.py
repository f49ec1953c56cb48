"""TOML text to a Scenario. Every refusal is one InputError that names the file and the key."""

import tomllib
from pathlib import Path

from harness.model.errors import InputError
from harness.model.scenario import Scenario
from harness.scenario.checks import check_scenario
from harness.scenario.convert import convert_struct

MAX_FILE_BYTES = 256 * 1024


def load_scenario(path: Path) -> tuple[Scenario, str]:
    """Read and validate a scenario file; returns it with its text, verbatim."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot read the scenario file: {reason}; "
            "`attestbench scenario list` shows those that exist"
        ) from None
    if len(raw) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES} bytes, expected a scenario file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from None
    return parse_scenario(text, str(path)), text


def parse_scenario(text: str, file: str = "scenario") -> Scenario:
    """Parse and validate ``text``; ``file`` is the name that error messages carry."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: not valid TOML: {reason}") from None
    scenario = convert_struct(file, table, Scenario)
    check_scenario(file, scenario)
    return scenario
