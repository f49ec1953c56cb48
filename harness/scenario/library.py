"""Where scenario files are found by name."""

from pathlib import Path

from harness.model.errors import InputError
from harness.scenario.errors import nearest

FOLDER = Path("scenarios")
# Of the checkout that this program runs from; an installed package has none beside it.
_PROJECTS = Path(__file__).parents[2] / FOLDER


def list_scenarios(folder: Path = FOLDER) -> list[Path]:
    """All scenario files of ``folder``, sorted by name."""
    return sorted(folder.glob("*.toml"))


def find_scenario(name_or_path: str, folder: Path = FOLDER) -> Path:
    """The file that ``name_or_path`` means: a path, or the name of a file in ``folder``."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        return path
    by_name = {found.stem: found for found in list_scenarios(folder)}
    if name_or_path in by_name:
        return by_name[name_or_path]
    known = ", ".join(by_name) or f"no *.toml in {folder}/"
    raise InputError(
        f'no scenario "{name_or_path}"; expected a .toml file or one of: {known}'
        + nearest(name_or_path, by_name)
    )


def comes_with_project(file_name: str, text: str) -> bool:
    """Whether the project has a scenario of this name that says exactly this."""
    try:
        return (_PROJECTS / Path(file_name).name).read_text(encoding="utf-8") == text
    except OSError:
        return False
