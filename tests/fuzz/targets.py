"""Every target by name: each parser of bytes from outside, and the whole verifier."""

import contextlib
import re
import socket
from collections.abc import Mapping
from functools import cache

import msgspec

from harness.framework import wire
from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import (
    binding,
    bundle,
    cbor,
)
from harness.framework.evidence.bundle import ImaPrefix, LaunchClaims
from harness.framework.verify import (
    VerificationCache,
    load_policy,
    verify,
)
from harness.framework.verify.keylime_policy import load_runtime_policy
from harness.framework.verify.path_patterns import PathPatterns
from harness.framework.verify.policy import encode_policy

from . import seeds
from .key_targets import KEY_TARGETS
from .log_targets import LOG_TARGETS
from .mutators import cbor_mutator
from .target import PATTERN_MEMORY, Target, schemes_for

# Repeats that would take Python's own matcher too long.
_MANY = re.compile(r"\d{3}")


def _cbor(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert cbor.encode(cbor.decode(data, len(data))) == data


def _bundle(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert bundle.encode_evidence(bundle.decode_evidence(data)) == data


def _bindings(data: bytes) -> None:
    for decode in (
        binding.decode_launch_binding,
        binding.decode_host_binding,
        lambda raw: bundle.decode(raw, LaunchClaims, 8192),
    ):
        with contextlib.suppress(ParseError):
            assert bundle.encode(decode(data)) == data


def _frames(data: bytes) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ParseError):
            while wire.receive(here) is not None:
                pass


def _policy(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        policy = load_policy(data)
        assert load_policy(encode_policy(policy)) == policy


def _keylime_policy(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        load_runtime_policy(data)


def _path_patterns(data: bytes) -> None:
    """A pattern, a zero byte, and a path so short that Python's own matcher can't take long."""
    pattern, _, path = data.decode("utf-8", "surrogateescape").partition("\0")
    with contextlib.suppress(PolicyError):
        mine = PathPatterns(pattern).match(path[:8])
        if not _MANY.search(pattern):
            assert mine == (re.compile(pattern).match(path[:8]) is not None)


def _verify(data: bytes) -> None:
    """The whole verifier, with and without a cache that has seen the good evidence."""
    for scheme in schemes_for(data, _evidence_seeds()):
        case = (data, seeds.policy(scheme), seeds.challenge(), seeds.NOW_S)
        result = verify(*case)
        assert result.accepted == (not result.failures)
        assert result == verify(*case, _caches()[scheme])


@cache
def _caches() -> Mapping[str, VerificationCache]:
    return {"allow-list": VerificationCache(64), "chain": VerificationCache(64)}


def _frame_seeds() -> tuple[bytes, ...]:
    body = cbor.encode({"op": "attest", "nonce": bytes(16), "stages": {"a": 1}})
    return (len(body).to_bytes(4) + body, (len(body).to_bytes(4) + body) * 2)


@cache
def _evidence_seeds() -> tuple[bytes, ...]:
    """Without certificates and reports, the same with a list's rest alone, and two with all."""
    small, whole = seeds.small_evidence(), seeds.evidence()
    rest = msgspec.structs.replace(
        small,
        version=2,
        ima_prefix=ImaPrefix(3, bytes(32)),
        confirmation_key=seeds.confirmation_key(),
    )
    assert whole.launch_report is not None
    report = msgspec.structs.replace(whole.launch_report, event_log=seeds.boot_logs()[0])
    logged = msgspec.structs.replace(whole, launch_report=report)
    return tuple(bundle.encode_evidence(one) for one in (small, rest, whole, logged))


def _binding_seeds() -> tuple[bytes, ...]:
    bound = binding.launch_binding(seeds.claims(), b"report", bytes(32))
    values = (bound, binding.HostBinding("host", b"\0\x0b" + bytes(32)), seeds.claims())
    return tuple(bundle.encode(value) for value in values)


TARGETS: Mapping[str, Target] = {
    "cbor": Target(_cbor, _evidence_seeds, 32768, cbor_mutator),
    "bundle": Target(_bundle, _evidence_seeds, 65536, cbor_mutator),
    "bindings": Target(_bindings, _binding_seeds, 4096, cbor_mutator),
    "frames": Target(_frames, _frame_seeds, 4096),
    "policy": Target(_policy, seeds.policies, 8192),
    "keylime-policy": Target(
        _keylime_policy, seeds.runtime_policies, 4096, memory_once=PATTERN_MEMORY
    ),
    "path-patterns": Target(
        _path_patterns,
        lambda: (b"/(usr|opt)/[a-z]+\\.so(\\.\\d{1,3})?$\0/usr/a.so",),
        64,
        memory_once=PATTERN_MEMORY,
    ),
    "verify": Target(_verify, _evidence_seeds, 65536, cbor_mutator),
    **KEY_TARGETS,
    **LOG_TARGETS,
}
