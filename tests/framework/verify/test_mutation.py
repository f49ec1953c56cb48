"""One flipped bit anywhere: refused, except where nothing is derived from the bytes.

Those are the SHA-1 column of the IMA log (the SHA-256 bank replays without it; only all zeros mean
something), and in the boot log all but PCR, count and SHA-256 digest: event types, descriptions
and the SHA-1 bank. The policy judges events by digest alone.
"""

import contextlib
import random
import struct
from collections.abc import Iterator

import pytest

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import encode_evidence
from harness.framework.verify import VerificationCache, verify
from harness.framework.verify.certificate import parse_certificate, parse_revocation_list

from .world import NOW, World, ids


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def unused_ima_bytes(log: bytes) -> Iterator[int]:
    at = 0
    while at < len(log):
        yield from range(at + 4, at + 24)
        at += 38 + struct.unpack_from("<I", log, at + 34)[0]


def sha256_digest_bytes(log: bytes) -> Iterator[int]:
    at = 32 + struct.unpack_from("<I", log, 28)[0]
    while at < len(log):
        yield from range(at + 36, at + 68)
        at += 72 + struct.unpack_from("<I", log, at + 68)[0]


@pytest.fixture(scope="module")
def wire(world: World) -> bytes:
    quote = world.quote()
    fresh = world.tee(world.pod.report(world.fresh_data(quote), bytes(16)))
    return encode_evidence(world.evidence(quote=quote, fresh_report=fresh))


def accepted_flips(world: World, wire: bytes, positions: list[int]) -> list[int]:
    cache, policy, challenge = VerificationCache(), world.policy(), world.challenge()
    assert verify(wire, policy, challenge, NOW, cache).accepted
    return [
        at for at in positions if verify(flipped(wire, at), policy, challenge, NOW, cache).accepted
    ]


def test_flips_outside_the_logs_are_all_refused(world: World, wire: bytes) -> None:
    boot, ima = wire.index(world.boot.log), wire.index(world.ima.binary)
    logs = set(range(boot, boot + len(world.boot.log))) | set(
        range(ima, ima + len(world.ima.binary))
    )
    outside = [at for at in range(len(wire)) if at not in logs]
    assert accepted_flips(world, wire, random.Random(3).sample(outside, 800)) == []


def test_flips_of_used_log_bytes_are_all_refused(world: World, wire: bytes) -> None:
    boot, ima = wire.index(world.boot.log), wire.index(world.ima.binary)
    unused = set(unused_ima_bytes(world.ima.binary))
    used = [ima + at for at in range(len(world.ima.binary)) if at not in unused]
    used += [boot + at for at in sha256_digest_bytes(world.boot.log)]
    assert accepted_flips(world, wire, random.Random(4).sample(used, 600)) == []


def test_all_zero_sha1_means_a_violation_even_for_a_known_file(world: World) -> None:
    log = bytearray(world.ima.binary)
    second = 38 + struct.unpack_from("<I", log, 34)[0]
    log[second + 4 : second + 24] = bytes(20)
    cache = VerificationCache()
    for _ in range(2):
        wire = encode_evidence(world.evidence(ima_log=bytes(log)))
        result = verify(wire, world.policy(), world.challenge(), NOW, cache)
        assert ids(result) == {"ima.violation", "ima.replay.mismatch"}


def test_damaged_certificates_and_lists_are_parse_errors_or_certificates(world: World) -> None:
    for der, parse in (
        (world.leaf_spec().der(), parse_certificate),
        (world.host_spec().der(), parse_certificate),
        (world.crl, parse_revocation_list),
    ):
        for at in range(len(der)):
            for damaged in (flipped(der, at), der[:at], der[:at] + der[at + 1 :]):
                with contextlib.suppress(ParseError):
                    parse(damaged)
