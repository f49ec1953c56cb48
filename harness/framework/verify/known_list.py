"""Where accepted IMA lists ended: a list only grows, so the next replay can begin there."""

import hmac
import os
from collections import OrderedDict
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_GCM_NONCE = bytes(12)


class ListEnd(NamedTuple):
    """``entries`` of a list, in ``size`` bytes, led to PCR 10's value ``pcr``.

    ``aggregate``: the SHA-256 over the values of PCRs 0-9 that entry 0 was held against. ``keys``
    were loaded by then, and count in what follows (see ``FileJudge``).
    """

    aggregate: bytes
    entries: int
    size: int
    pcr: bytes
    keys: tuple[bytes, ...] = ()


class KnownList(msgspec.Struct, frozen=True):
    """The end of a list of which every entry was acceptable under the policy with this digest.

    To go on from here, whoever verifies needs nothing else of the list: only entries that follow
    these can lead to a later quote.
    """

    policy: str
    end: ListEnd


class _Kept(NamedTuple):
    known: KnownList
    tag: bytes


class AcceptedLists:
    """The last accepted list of each key under each policy, the least used one forgotten first.

    Of a list's bytes only a GMAC is kept, under a key of this object. Neither key nor tags ever
    leave it, so nobody can look for other bytes with the same tag, and the nonce may stay the same.
    Not for use by several threads at once.
    """

    def __init__(self, max_lists: int = 16384) -> None:
        """``max_lists``: each takes about 600 bytes."""
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()
        self._max_lists = max_lists
        self._mac = AESGCM(os.urandom(32))

    def find(self, policy: str, key_name: bytes, log: bytes) -> KnownList | None:
        """What is known of ``log``: the last list of this key, if ``log`` begins with its bytes."""
        kept = self._kept.get((policy, key_name))
        if kept is None or len(log) < kept.known.end.size:
            return None
        self._kept.move_to_end((policy, key_name))
        return kept.known if hmac.compare_digest(self._tag(log, kept.known), kept.tag) else None

    def keep(self, key_name: bytes, log: bytes, known: KnownList) -> None:
        """Remember ``known``, which is about the first bytes of ``log``, as this key's last."""
        place = known.policy, key_name
        before = self._kept.get(place)
        if before is None or before.known != known:
            self._kept[place] = _Kept(known, self._tag(log, known))
        self._kept.move_to_end(place)
        if len(self._kept) > self._max_lists:
            self._kept.popitem(last=False)

    def _tag(self, log: bytes, known: KnownList) -> bytes:
        return self._mac.encrypt(_GCM_NONCE, b"", memoryview(log)[: known.end.size])
