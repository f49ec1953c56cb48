"""Initial file systems: cpio archives in the "newc" format, the same bytes for the same files.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

from harness.model.errors import InputError

_DIRECTORY = 0o040755
_PROGRAM = 0o100755
_FILE = 0o100644
_CONSOLE = 0o020600
_NAME_LIMIT = 255


def archive(init: bytes, files: Mapping[str, bytes]) -> bytes:
    """An uncompressed archive with `/init`, `/dev/console` and ``files`` (path → content).

    Not compressed: the guest would spend emulated instructions on it. Raises InputError for a
    path that is not a plain relative one.
    """
    for name in files:
        _check(name)
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    directories = (parents | {"dev"}) - {"."}
    nodes = [(name, _node(name, _DIRECTORY)) for name in directories]
    # The kernel opens it for the first process before any file system is mounted.
    nodes.append(("dev/console", _node("dev/console", _CONSOLE, device=(5, 1))))
    nodes.append(("init", _node("init", _PROGRAM, init)))
    nodes += [(name, _node(name, _FILE, content)) for name, content in files.items()]
    # A directory sorts before what it holds.
    body = b"".join(node for _name, node in sorted(nodes))
    return body + _node("TRAILER!!!", 0)


def _check(name: str) -> None:
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts
    if not plain or name in ("", ".", "init", "dev") or len(name) > _NAME_LIMIT:
        raise InputError(
            f'initial file system: "{name}" is not a plain relative path other than init and dev'
        )


def _node(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One entry. Inode and time are 0 and no link is shared: none of them may differ."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 4)
