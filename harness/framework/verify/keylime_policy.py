"""Keylime's runtime policy (JSON, version 1), read as it is; docs/logs.md lists the differences."""

import base64
from functools import cached_property
from typing import Annotated, Literal

import msgspec

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import ima_signature, json_text
from harness.framework.evidence.ima_signature import NamedKey
from harness.framework.verify.file_rules import FileRules
from harness.framework.verify.path_patterns import PathPatterns

# What a policy of paths and digests can judge.
TEMPLATES = (
    "ima", "ima-ng", "ima-ngv2", "ima-sig", "ima-sigv2", "ima-modsig", "evm-sig", "ima-buf",
)  # fmt: skip

_MAX_SIZE = 256 * 1024 * 1024
_Hex = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{2}){20,64}\Z")]
_Digests = dict[str, Annotated[tuple[_Hex, ...], msgspec.Meta(min_length=1)]]
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class PolicyMeta(msgspec.Struct, frozen=True):
    """Who made a runtime policy, and of which version its form is."""

    version: Literal[1]
    generator: Annotated[int, msgspec.Meta(ge=0, le=3)]
    timestamp: str = ""


class ImaSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``log_hash_alg`` is of the list's first digest, which isn't looked at here."""

    ignored_keyrings: tuple[str, ...]
    log_hash_alg: Literal["sha1", "sha256", "sha384", "sha512"]
    dm_policy: None


class KeylimePolicy(
    msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True, rename="kebab"
):
    """A runtime policy. Digests are hexadecimal, by path, keyring or name of a buffer."""

    meta: PolicyMeta
    release: _Natural
    digests: _Digests
    excludes: tuple[str, ...]
    keyrings: _Digests
    ima: ImaSection
    ima_buf: _Digests
    verification_keys: str

    @cached_property
    def rules(self) -> FileRules:
        """What the policy accepts.

        Raises:
            PolicyError: an exclusion that can't be run in linear time, or an unusable key.
        """
        excluded = "(" + ")|(".join(self.excludes) + ")" if self.excludes else None
        return FileRules(
            files=_bytes(self.digests),
            keys=tuple(_verification_keys(self.verification_keys)),
            keyrings=_bytes(self.keyrings),
            ignored_keyrings=frozenset(self.ima.ignored_keyrings),
            buffers=_bytes(self.ima_buf),
            excluded=None if excluded is None else PathPatterns(excluded),
            any_hash=True,
        )


class _Keys(msgspec.Struct, frozen=True):
    """The text in ``verification-keys``: public keys (DER, base64) and their ids."""

    pubkeys: tuple[str, ...]
    keyids: tuple[Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)], ...]


def load_runtime_policy(text: bytes) -> KeylimePolicy:
    """Read a runtime policy.

    Raises:
        PolicyError: names the field, what was found and what was expected.
    """
    if len(text) > _MAX_SIZE:
        raise PolicyError(f"runtime policy of {len(text)} bytes, at most {_MAX_SIZE}")
    try:
        policy = json_text.decode(text, KeylimePolicy, "runtime policy")
    except ParseError as error:
        raise PolicyError(str(error)) from None
    _ = policy.rules  # checked when they are made
    return policy


def _bytes(digests: _Digests) -> dict[str, tuple[bytes, ...]]:
    return {name: tuple(map(bytes.fromhex, values)) for name, values in digests.items()}


def _verification_keys(text: str) -> list[NamedKey]:
    if not text:
        return []
    try:
        found: object = msgspec.json.decode(text)
        # Stored policies may have the text encoded twice, and "no keys" as null or [].
        if isinstance(found, str):
            found = msgspec.json.decode(found)
        if not found:
            return []
        keys = msgspec.convert(found, _Keys)
    except json_text.MALFORMED as error:
        raise PolicyError(f"runtime policy: verification-keys: {error}") from None
    if len(keys.keyids) > len(keys.pubkeys):
        raise PolicyError("runtime policy: verification-keys: more keyids than pubkeys")
    ids = (*keys.keyids, *(0 for _ in keys.pubkeys[len(keys.keyids) :]))
    return [_key(n, key, ids[n]) for n, key in enumerate(keys.pubkeys)]


def _key(number: int, encoded: str, key_id: int) -> NamedKey:
    try:
        key = ima_signature.load_key(base64.b64decode(encoded, validate=True))
    except (ValueError, ParseError) as error:
        raise PolicyError(f"runtime policy: verification-keys: key {number}: {error}") from None
    if key is None:
        raise PolicyError(f"runtime policy: verification-keys: key {number} is no public key")
    return key._replace(key_id=key_id) if key_id else key
