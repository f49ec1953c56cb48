"""Which files, keys and buffers an IMA list may show, whichever form of policy says it."""

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_signature
from harness.framework.evidence.ima_log import DIGEST_OF_FILE, ImaEntry
from harness.framework.evidence.ima_replay import Problem
from harness.framework.evidence.ima_signature import KeyRing, NamedKey
from harness.framework.verify.path_patterns import PathPatterns

# Their third field is a signature of the file.
_SIGNED = ("ima-sig", "ima-sigv2", "ima-modsig")
_BUFFER = "ima-buf"
ANY_KEYRING = "*"
# A signature takes up to 0.7 ms to check, and a list of 27 MB has room for 100,000.
_MAX_WRONG_SIGNATURES = 1_000
_REMEMBERED_SIGNATURES = 1_024

Digests = Mapping[str, Collection[bytes]]


class FileRules(msgspec.Struct, frozen=True):
    """Made once for a policy.

    A file is acceptable if its path is ``excluded``, if its digest is among ``files``, or if one of
    ``keys`` signed it. ``keyrings`` name the keys that may be loaded into a keyring, by digest, and
    which then count as well; those loaded into ``ignored_keyrings`` neither fail nor count.
    ``buffers`` are what else may be measured. With ``any_hash`` a file's digest needn't be SHA-256.
    """

    files: Digests
    keys: tuple[NamedKey, ...] = ()
    keyrings: Digests = {}
    ignored_keyrings: frozenset[str] = frozenset()
    buffers: Digests = {}
    excluded: PathPatterns | None = None
    any_hash: bool = False


class FileJudge:
    """Judges the entries of one list in their order: keys count once they were loaded.

    ``loaded`` are the certificates or public keys that were, as the entries have them.
    """

    def __init__(self, rules: FileRules, loaded: tuple[bytes, ...] = ()) -> None:
        """``loaded``: by entries before the first one to judge, which were acceptable."""
        self._rules = rules
        self.loaded = loaded
        before = (ima_signature.load_key(key) for key in loaded)
        self._wrong_signatures = 0
        self._keys = KeyRing((*rules.keys, *(key for key in before if key is not None)))
        # An entry that a list repeats is checked once.
        self._problem = lru_cache(maxsize=_REMEMBERED_SIGNATURES)(self._keys.problem)

    def judge(self, entry: ImaEntry, where: str) -> Problem | None:
        """Why an entry isn't acceptable. ``where`` names it."""
        if entry.template == _BUFFER:
            return self._judge_buffer(entry, where)
        if self._is_excluded(entry.path):
            return None
        listed = self._rules.files.get(entry.path)
        usable = entry.digest_of == DIGEST_OF_FILE and (
            self._rules.any_hash or entry.algorithm == "sha256"
        )
        if usable and listed is not None and entry.digest in listed:
            return None
        unsigned = self._why_unsigned(entry)
        if unsigned is None:
            return None
        if not usable:
            what = f"{entry.digest_of}:{entry.algorithm}"
            return Problem("ima.entry.hash", f"{where} has a digest of {what!r}")
        if unsigned:
            return Problem("ima.signature.invalid", f"{where}: {unsigned}")
        if listed is None:
            return Problem("ima.file.unknown", f"{where} is not in the policy")
        return Problem("ima.file.digest", f"{where} has digest {entry.digest.hex()}")

    def _is_excluded(self, name: str) -> bool:
        return self._rules.excluded is not None and self._rules.excluded.match(name)

    def _why_unsigned(self, entry: ImaEntry) -> str | None:
        """None if an accepted key signed the file; empty if there is nothing to check."""
        if entry.template not in _SIGNED or not entry.extra or not self._keys:
            return ""
        if self._wrong_signatures >= _MAX_WRONG_SIGNATURES:
            return f"not checked after {_MAX_WRONG_SIGNATURES:,} wrong ones"
        problem = self._problem(entry.extra, entry.algorithm, entry.digest, entry.digest_of)
        self._wrong_signatures += problem is not None
        return problem

    def _judge_buffer(self, entry: ImaEntry, where: str) -> Problem | None:
        if not _is_of_buffer(entry):
            return Problem("ima.buffer.digest", f"{where}: its digest is not of its buffer")
        try:
            key = ima_signature.load_key(entry.extra)
        except ParseError as error:
            return Problem("ima.key.format", f"{where}: {error}")
        if key is None:
            known = self._is_listed(entry, self._rules.buffers)
            what = f"{where} has digest {entry.digest.hex()}"
            return None if known else Problem("ima.buffer.unknown", what)
        ignored = self._rules.ignored_keyrings
        if ANY_KEYRING in ignored or entry.path in ignored or self._is_excluded(entry.path):
            return None
        if not self._is_listed(entry, self._rules.keyrings):
            what = f"{where}: key {key.key_id:08x} with digest {entry.digest.hex()}"
            return Problem("ima.key.unknown", what)
        if entry.extra not in self.loaded:
            self.loaded += (entry.extra,)
            self._keys.add(key)
            self._problem.cache_clear()
        return None

    def _is_listed(self, entry: ImaEntry, digests: Digests) -> bool:
        return self._is_excluded(entry.path) or entry.digest in digests.get(entry.path, ())


def _is_of_buffer(entry: ImaEntry) -> bool:
    """The kernel hashes the buffer with its own choice of hash (``ima_hash=``)."""
    if entry.algorithm not in ("sha1", "sha256", "sha384", "sha512"):
        return False
    return hashlib.new(entry.algorithm, entry.extra).digest() == entry.digest
