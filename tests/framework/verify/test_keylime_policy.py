"""Keylime's runtime policies mean here what they mean in Keylime 7.14.3, except as listed.

tests/data/keylime/make_cases.py says how the verdicts were made.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.framework.errors import PolicyError
from harness.framework.evidence import ima_ascii
from harness.framework.verify import (
    Policy,
    encode_policy,
    load_policy,
    load_runtime_policy,
)
from harness.framework.verify.measurements import replay_list

from .guest_list import demonstration, digest_of
from .test_containers import HOST_FILES, guest_evidence, guest_policy
from .test_measurements import entry, fields, with_ima
from .world import World, ids, judge

DATA = Path(__file__).parents[2] / "data" / "keylime"
RECORDED: dict[str, Any] = json.loads((DATA / "cases.json").read_text())
CASES = {case["name"]: case for case in RECORDED["cases"]}
PCRS = {pcr: bytes(32) for pcr in range(10)}

# What we say instead, by case and number of the line. Each is explained in docs/logs.md.
STRICTER = {
    ("signatures", 3): "ima.signature.invalid",  # SHA-1
    ("signatures", 7): "ima.signature.invalid",  # an EVM signature isn't one of the file
    ("keyrings", 7): "ima.key.format",  # RSA-1024
    ("keyrings", 8): "ima.signature.invalid",
    ("excluded keyring", 1): "ima.file.unknown",  # what is excluded isn't trusted with signing
    ("other entries", 3): "ima.buffer.digest",
}
WIDER = {
    ("other entries", 7): "the SHA-1 in the list isn't looked at",
    ("other entries", 8): "ima-ngv2",
    ("other entries", 10): "ima-sigv2",
    ("other entries", 11): "ima-modsig",
    ("other entries", 12): "evm-sig",
    # Keylime reads a list with a malformed signature as one without, which doesn't hash.
    ("signatures", 16): "a malformed signature doesn't hide that the digest is listed",
    ("signatures without keys", 1): "as above",
}


def aggregate_line() -> str:
    digest = hashlib.sha256(bytes(320)).hexdigest()
    return f"10 {'1' * 40} ima-ng sha256:{digest} boot_aggregate"


def judged(policy: Policy, lines: list[str]) -> dict[int, str]:
    """Failure ids by line."""
    text = "\n".join([aggregate_line(), *lines]) + "\n"
    log = ima_ascii.to_binary(text.encode())
    result = replay_list(log, PCRS, {}, policy, None)
    assert result.entries == len(lines) + 1
    found = {}
    for problem in result.problems:
        match = re.match(r"entry (\d+) ", problem.detail)
        assert match
        found[int(match[1]) - 1] = problem.id
    return found


def entries() -> Iterator[tuple[str, int]]:
    for name, case in CASES.items():
        yield from ((name, number) for number in range(len(case["lines"])))


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_every_entry_is_judged_as_by_keylime(name: str) -> None:
    case = CASES[name]
    text = json.dumps(case["policy"]).encode()
    policy = Policy(scheme="chain", keylime=load_runtime_policy(text))
    ours = judged(policy, case["lines"])
    for number, verdict in enumerate(case["verdicts"]):
        at = (name, number)
        if at in STRICTER:
            assert (ours.get(number), verdict) == (STRICTER[at], []), at
        elif at in WIDER:
            assert number not in ours, at
            assert verdict != [], at
        else:
            assert (number in ours) == (verdict != []), (at, ours.get(number), verdict)


def test_the_table_of_cases_covers_both_verdicts_and_every_failure_of_keylimes() -> None:
    verdicts = [verdict for case in CASES.values() for verdict in case["verdicts"]]
    assert len(verdicts) > 90
    assert 35 < sum(verdict == [] for verdict in verdicts) < 65
    assert {failure for verdict in verdicts for failure in verdict} == {
        "ima.invalid_key",
        "ima.parser.entry",
        "ima.validation.ima-ng.not_in_allowlist",
        "ima.validation.ima-ng.runtime_policy_hash",
        "ima.validation.ima_hash",
        "ima.validation.ima_pcr",
        "ima.validation.tomtou",
    }


OURS_ALONE = {
    "odd length": "digests",
    "newline": "digests",
    "version 0": "version",
    "version 2": "version",
    "unknown section": "symlinks",
    "key that is none": "key 0 is no public key",
    "exclusion that is none": "unterminated",
    "exclusion with look-ahead": "assert is not supported",
}


@pytest.mark.oracle
@pytest.mark.parametrize("form", RECORDED["policies"], ids=lambda form: form["name"])
def test_a_policy_is_taken_if_keylime_takes_it_and_we_can_keep_to_it(form: dict[str, Any]) -> None:
    text = form["text"].encode()
    if form["taken"] and form["name"] not in OURS_ALONE:
        load_runtime_policy(text)
        return
    with pytest.raises(PolicyError, match=OURS_ALONE.get(form["name"], "runtime policy: ")) as got:
        load_runtime_policy(text)
    assert "\n" not in str(got.value)


def keylime_policy(world: World, **changes: object) -> Policy:
    text = {
        "meta": {"version": 1, "generator": 0},
        "release": 0,
        "digests": {path: [d.hex() for d in ds] for path, ds in world.ima.allowed.items()},
        "excludes": ["/tmp/"],
        "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": None},
        "ima-buf": {"kexec-cmdline": [hashlib.sha256(b"quiet").hexdigest()]},
        "verification-keys": "",
    } | changes
    runtime = load_runtime_policy(json.dumps(text).encode())
    return world.policy(ima={}, keylime=runtime)


def test_the_verifier_takes_a_runtime_policy_for_the_host(world: World) -> None:
    policy = keylime_policy(world)
    assert ids(judge(world, policy=policy)) == set()
    excluded = with_ima(world, entry(fields(bytes(32), b"/tmp/x")))
    assert ids(judge(world, excluded, policy)) == set()
    assert ids(judge(world, with_ima(world, entry(fields(bytes(32), b"/x"))), policy)) == {
        "ima.file.unknown"
    }
    command = fields(hashlib.sha256(b"quiet").digest(), b"kexec-cmdline", b"quiet")
    buffer = with_ima(world, entry(command, template=b"ima-buf"))
    assert ids(judge(world, buffer, policy)) == set()
    assert ids(judge(world, buffer)) == {"ima.entry.template"}
    violation = entry(fields(bytes(32), b"/tmp/raced"), sha1=bytes(20))
    assert ids(judge(world, with_ima(world, violation, violation=True), policy)) == {
        "ima.violation"
    }


def test_boot_aggregate_must_be_this_boots_whatever_the_policy_says(world: World) -> None:
    other = "0" * 64
    digests = {"boot_aggregate": [other]}
    policy = keylime_policy(world, digests=digests, excludes=[".*"])
    first = struct.unpack_from("<I", world.ima.binary, 34)[0] + 38
    log = world.ima.binary
    swapped = log[:50] + bytes(32) + log[82:]
    assert first > 82
    found = ids(judge(world, world.evidence(ima_log=swapped), policy))
    assert found == {"ima.boot_aggregate.mismatch", "ima.replay.mismatch"}


def test_a_runtime_policy_travels_inside_the_policy_as_it_is(world: World) -> None:
    policy = keylime_policy(world)
    text = encode_policy(policy)
    assert load_policy(text) == policy
    assert json.loads(text)["keylime"]["verification-keys"] == ""
    assert "ima-buf" in json.loads(text)["keylime"]
    assert policy.digest != keylime_policy(world, excludes=[]).digest


def test_rules_for_files_beside_a_runtime_policy_are_refused(world: World) -> None:
    policy = world.policy(keylime=keylime_policy(world).keylime)
    with pytest.raises(PolicyError, match="keylime: not together with ima"):
        load_policy(encode_policy(policy))


def test_containers_are_judged_by_their_own_lists_beside_a_runtime_policy(world: World) -> None:
    guest = demonstration(world.pcrs)
    digests = {path: [digest_of(path).hex()] for path in HOST_FILES}
    runtime = keylime_policy(world, digests=digests).keylime
    policy = guest_policy(world, ima={}, keylime=runtime)
    assert ids(judge(world, guest_evidence(world, guest), policy)) == set()
    guest.run(1, "/tmp/x")  # the host's exclusions are the host's
    guest.seal()
    assert ids(judge(world, guest_evidence(world, guest), policy)) == {"ima.container.file"}
