"""Takes programs out of a tree of packages, with the libraries and links that they need."""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.guest.tools import run
from harness.model.errors import EnvironmentError_

_WHAT = "the guest's image"
_NEEDED = re.compile(r"\(NEEDED\)\s+Shared library: \[(.+)\]")
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib")
_ELF = b"\x7fELF"


def select(tree: Path, patterns: Sequence[str], target: Path) -> None:
    """Copy what matches ``patterns`` from ``tree``, and all that it needs, to ``target``.

    Raises EnvironmentError_ for a pattern without a match and a library that isn't there.
    """
    wanted: list[Path] = []
    for pattern in patterns:
        found = _matches(tree, pattern)
        if not found:
            raise EnvironmentError_(
                f"{_WHAT}: no package has {pattern}; this distribution is not supported (Debian 12)"
            )
        wanted += found
    for path in _closure(tree, wanted):
        copy = target / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)


def _matches(tree: Path, pattern: str) -> list[Path]:
    # glob follows an absolute link into the machine's own files and may find nothing there.
    found = [tree / pattern, *tree.glob(pattern)]
    return [path for path in found if path.is_symlink() or path.is_file()]


def _closure(tree: Path, wanted: Iterable[Path]) -> set[Path]:
    """The files with everything that they point to or are linked with, recursively."""
    open_, closed = list(wanted), set[Path]()
    while open_:
        path = open_.pop()
        if path in closed:
            continue
        closed.add(path)
        if path.is_symlink():
            open_.append(_target(tree, path))
        elif _is_elf(path):
            open_ += [_library(tree, name, path) for name in _needed(path)]
    return closed


def _target(tree: Path, link: Path) -> Path:
    """What a link points to, as the guest sees it; its folder may be a link into /usr."""
    text = link.readlink()
    target = tree / text.relative_to("/") if text.is_absolute() else link.parent / text
    found = target.parent.resolve() / target.name
    if not found.is_relative_to(tree.resolve()) or not (found.is_symlink() or found.exists()):
        raise EnvironmentError_(f"{_WHAT}: {link.relative_to(tree)} points to nothing ({text})")
    return tree / found.relative_to(tree.resolve())


def _needed(path: Path) -> list[str]:
    return _NEEDED.findall(run(_WHAT, ["readelf", "--dynamic", path]))


def _library(tree: Path, name: str, user: Path) -> Path:
    for folder in _LIBRARIES:
        path = tree / folder / name
        if path.is_symlink() or path.is_file():
            return path
    raise EnvironmentError_(f"{_WHAT}: {user.name} needs {name}, which no package has")


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ELF)) == _ELF
