"""Remembering what pure checks gave: the interface that a cache implements."""

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol, TypeVar

T = TypeVar("T")


class Memo(Protocol):
    """Remembers what pure checks gave."""

    def __call__(self, key: bytes, check: Callable[[], T], /) -> T:
        """What ``check`` gave for ``key`` before, or its result now; exceptions aren't kept.

        ``key`` must be a hash of everything that the check reads, and of the check's name.
        """


def hash_of(check: str, *inputs: bytes) -> bytes:
    """The key for a Memo: each input is hashed by itself, so none grows at another's expense."""
    digests = b"".join(sha256(value).digest() for value in inputs)
    return sha256(check.encode() + b"\0" + digests).digest()


def forgetful(_key: bytes, check: Callable[[], T], /) -> T:
    """The Memo that remembers nothing."""
    return check()
