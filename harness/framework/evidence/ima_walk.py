"""What the compiled replay (ima_walk.c) works with: lists of files, and containers by number."""

import functools
import os
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.framework.errors import FrameworkError

# Templates of which a file's path and digest say all that a policy wants to know.
PLAIN_TEMPLATES = ("ima-ng", "ima-sig")

_SIZES = struct.Struct("<I32sI")
_DIGEST_BYTES = 32


@functools.cache
def native() -> Any:
    """The compiled module, with ``ffi`` and ``lib``.

    Raises:
        FrameworkError: it isn't built.
    """
    try:
        from harness.framework.evidence import _native  # type: ignore[attr-defined]
    except ImportError as error:
        raise FrameworkError(
            f"harness.framework.evidence._native: {error}; expected the compiled replay of IMA "
            "lists, which installing this package builds (make setup)"
        ) from None
    return _native


class AllowedFiles:
    """Files by path and SHA-256 digest, made once for a policy and used by any number of threads.

    It also keeps what a file's ima-ng entry extends, computed when it is first met: 32 bytes for
    each digest, whatever the lists hold.
    """

    def __init__(
        self, files: Mapping[str, Iterable[bytes]], templates: Collection[str] = PLAIN_TEMPLATES
    ) -> None:
        """``templates``: those of PLAIN_TEMPLATES in which an entry may name a file."""
        ffi, lib = native().ffi, native().lib
        items = _items(files)
        # The table refers to these bytes.
        self._items = b"".join(items)
        made = lib.ima_files_new(ffi.from_buffer(self._items), len(self._items), len(items))
        if made == ffi.NULL:
            raise MemoryError(f"no table of {len(items)} files")
        self.pointer = ffi.gc(made, lib.ima_files_free)
        ng, sig = (name in templates for name in PLAIN_TEMPLATES)
        self.templates = lib.IMA_NG * ng | lib.IMA_SIG * sig


class DomainLists:
    """The containers of one list: the files of each, and the aggregates of what it measured."""

    def __init__(self) -> None:
        ffi, lib = native().ffi, native().lib
        self.pointer = ffi.gc(
            _made(lib.ima_domains_new(int.from_bytes(os.urandom(8)))), lib.ima_domains_free
        )
        self._files: list[AllowedFiles] = []

    def add(self, number: int, files: AllowedFiles | None) -> "DomainList":
        """Container ``number``, which isn't there yet; with ``files`` its entries can be accepted
        without a judge."""
        if files is not None:
            self._files.append(files)
        table = native().ffi.NULL if files is None else files.pointer
        return DomainList(self, _made(native().lib.ima_domains_add(self.pointer, number, table)))


class DomainList:
    """A container's entries so far. :meth:`DomainLists.add` makes it."""

    __slots__ = ("_domain", "_owner")

    def __init__(self, owner: DomainLists, domain: Any) -> None:
        self._owner, self._domain = owner, domain

    def __len__(self) -> int:
        return int(self._domain.entries)

    def add(self, extended: bytes) -> None:
        """Count an entry and what it extends (32 bytes)."""
        if not native().lib.ima_domain_extend(self._domain, extended):
            raise MemoryError(f"no room for entry {len(self)} of a container")

    def aggregate(self, entries: int) -> bytes:
        """What a PCR extended with the first ``entries`` alone would hold."""
        if not entries:
            return bytes(_DIGEST_BYTES)
        if not 0 < entries <= len(self):
            raise IndexError(f"{entries} entries of {len(self)}")
        at = self._domain.aggregates + _DIGEST_BYTES * (entries - 1)
        return bytes(native().ffi.buffer(at, _DIGEST_BYTES))


def _made(pointer: Any) -> Any:
    if pointer == native().ffi.NULL:
        raise MemoryError("no room for another container")
    return pointer


def _items(files: Mapping[str, Iterable[bytes]]) -> list[bytes]:
    """For each digest: size, digest and sized path, as they stand in an entry's template data."""
    pack, items = _SIZES.pack, []
    for path, digests in files.items():
        try:
            name = path.encode("utf-8", "surrogateescape") + b"\0"
        except UnicodeEncodeError:
            continue  # no entry's path reads so
        size = len(name)
        items += [
            pack(_DIGEST_BYTES + 4 + size, digest, size) + name
            for digest in digests
            if len(digest) == _DIGEST_BYTES
        ]
    return items
