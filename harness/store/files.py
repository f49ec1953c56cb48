"""Writes that survive a crash, and operating system errors as one line."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from harness.model.errors import EnvironmentError_

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "choose a folder that can be written (--results)",
    errno.EACCES: "choose a folder that you may write (--results), or change its permissions",
    errno.EPERM: "choose a folder that you may write (--results), or change its permissions",
    errno.EIO: "check the disk",
}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into EnvironmentError_ naming the file, the reason and what to do."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "check the folder")
        where = error.filename or path
        raise EnvironmentError_(
            f"{where}: cannot write: {what}; {advice}, then run the same command again "
            "(every finished trial is kept)"
        ) from error


def sync_directory(directory: Path) -> None:
    """Make names created, renamed or removed in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create a directory with its parents, durably."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a whole file and make content and name durable; not atomic."""
    _write_file(path, content)
    sync_directory(path.parent)


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash it holds the old or the new content."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write_file(temporary, content)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def append_durably(path: Path, line: bytes) -> None:
    """Append one line (without its newline) and make it durable."""
    existed = path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _write_all(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not existed:
        sync_directory(path.parent)


def cut_torn_line(path: Path) -> None:
    """Remove what follows the last newline: a line whose write was cut off."""
    if not path.exists():
        return
    content = path.read_bytes()
    keep = content.rfind(b"\n") + 1
    if keep < len(content):
        with path.open("r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())


def _write_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
