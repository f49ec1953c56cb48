"""The cache of built things: one folder per content of its inputs, in the user's cache folder.

A folder appears under its final name only when all that it holds is complete, so that a build
which was killed leaves nothing that counts. Two processes never build the same thing.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import EnvironmentError_

Progress = Callable[[str, float | None], None]
"""Called with what is being done, and with the share of it that is over where that is known."""

_MANIFEST = "manifest.json"
_BLOCK = 1 << 20


def silent(_what: str, _share: float | None) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True)
class Recipe:
    """Names what is built and everything that decides its content.

    ``revision`` counts changes of the code that make other bytes from the same inputs.
    """

    name: str
    inputs: Mapping[str, str]
    revision: int = 1

    def entry(self) -> str:
        """Name of the folder in the cache."""
        text = json.dumps([self.revision, dict(self.inputs)], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class BuiltFile:
    """A file of an entry; ``size`` in bytes."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A complete folder of the cache: what went into it and which files it holds."""

    path: Path
    inputs: Mapping[str, str]
    files: Mapping[str, BuiltFile]

    def holds(self) -> bool:
        """Whether every file is there with its size; cheap, so that each use can ask."""
        return all(_size(self.path / name) == file.size for name, file in self.files.items())

    def damaged(self) -> list[str]:
        """Names of the files whose content is not what was built."""
        return [name for name, file in self.files.items() if _built(self.path / name) != file]


def folder() -> Path:
    """Where everything built is kept: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification lets a relative path be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "attestbench" / "guest"


def obtain(recipe: Recipe, make: Callable[[Path], None], progress: Progress = silent) -> Path:
    """The folder with what ``make`` builds into an empty folder; built only when it isn't there.

    Raises EnvironmentError_ when the cache can't be written, and what ``make`` raises.
    """
    path = folder() / recipe.entry()
    if _complete(path):
        return path
    with _written(path), _locked(path, progress):
        if _complete(path):  # another process has just built it
            return path
        remove(path)
        for left_behind in path.parent.glob(f".{path.name}.*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            make(fresh)
            _write_manifest(fresh, recipe.inputs)
            fresh.chmod(0o755)
            fresh.rename(path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return path


def entries() -> list[Entry]:
    """Everything complete in the cache, by name."""
    found = [read(path.parent) for path in sorted(folder().glob(f"*/{_MANIFEST}"))]
    return [entry for entry in found if entry]


def read(path: Path) -> Entry | None:
    """The entry in a folder; None when the folder isn't complete."""
    try:
        content = json.loads((path / _MANIFEST).read_bytes())
        files = {name: BuiltFile(**file) for name, file in content["files"].items()}
        return Entry(path, content["inputs"], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove(path: Path) -> None:
    """Remove an entry: first its manifest, so that half of it never counts."""
    (path / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _complete(path: Path) -> bool:
    entry = read(path)
    return entry is not None and entry.holds()


def _write_manifest(path: Path, inputs: Mapping[str, str]) -> None:
    built = {
        str(file.relative_to(path)): {"size": file.stat().st_size, "sha256": digest_of(file)}
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    text = json.dumps({"inputs": dict(inputs), "files": built}, indent=1, sort_keys=True)
    (path / _MANIFEST).write_text(text + "\n")


def _built(path: Path) -> BuiltFile | None:
    try:
        return BuiltFile(path.stat().st_size, digest_of(path))
    except OSError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds the same", None)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn an OSError into one line that names the file."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise EnvironmentError_(
            f"{where}: {error.strerror or error}; free space there or set XDG_CACHE_HOME to a "
            "folder that can be written, then run the same command again"
        ) from error
