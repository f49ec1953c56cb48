"""Policies travel as JSON, and a wrong one says which field is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.framework.errors import PolicyError
from harness.framework.tee import verifiers
from harness.framework.tee.kinds.csv import CsvRules
from harness.framework.verify import Policy, TeeRoot, VerificationCache, encode_policy, load_policy
from harness.workloads.by_hand import RENEWED

from .world import World


def test_policy_survives_json_and_its_digest_is_its_contents(world: World) -> None:
    policy = world.policy()
    again = load_policy(encode_policy(policy))
    assert again == policy
    assert again.digest == policy.digest
    assert again.digest != world.policy(accept_emulated=False).digest


def test_strictness_is_the_default() -> None:
    policy = load_policy(b'{"scheme": "chain"}')
    assert not policy.accept_emulated
    assert policy.require_crl
    assert policy.rules_by_tee["csv"] == CsvRules(required_bits=5)
    assert policy.pcrs == tuple(range(11))
    assert policy.ima == {}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"scheme": "trust-me"}, "scheme"),
        ({"accept_emulatd": True}, "accept_emulatd`; did you mean accept_emulated"),
        ({"pcrs": [24]}, "pcrs"),
        ({"crls": ["not base64!"]}, "crls"),
        ({"tee_roots": [{"name": "a", "tee": "csv", "kind": "fake", "root": ""}]}, "tee_roots"),
        ({"tee_roots": [{"name": "a", "tee": "csv", "kind": "real"}]}, "tee_roots: 'a'"),
        ({"tee_rules": {"csw": {}}}, r"tee_rules\.csw: no such TEE; known are .*csv"),
        ({"tee_rules": {"csv": {"required_bit": 5}}}, r"tee_rules\.csv: .*required_bit"),
    ],
)
def test_wrong_policies_name_the_field(change: dict[str, object], names: str) -> None:
    with pytest.raises(PolicyError, match=names) as caught:
        load_policy(json.dumps({"scheme": "chain"} | change).encode())
    assert "\n" not in str(caught.value)


def test_cache_is_bounded_and_drops_the_least_used(world: World) -> None:
    cache = VerificationCache(max_results=2)
    for key in (b"a", b"b", b"a", b"c"):
        cache.memo(key, lambda: 1)
    assert cache.memo(b"a", lambda: 2) == 1
    assert cache.memo(b"b", lambda: 2) == 2


def test_failed_checks_are_not_remembered() -> None:
    def fail() -> int:
        raise ValueError

    cache = VerificationCache()
    with pytest.raises(ValueError):
        cache.memo(b"a", fail)
    assert cache.memo(b"a", lambda: 3) == 3


@pytest.mark.parametrize("kind", ["csv", "snp", "tdx"])
def test_a_root_of_ones_own_is_not_called_real(kind: str, world: World) -> None:
    own = TeeRoot("lab", kind, "real", world.processor.hrk)
    with pytest.raises(PolicyError, match=r'is none of the pinned roots .* kind "emulated"'):
        load_policy(encode_policy(world.policy(tee_roots=(own,))))
    name, pinned = next(iter(verifiers()[kind].roots.items()))
    for real in (TeeRoot(name, kind, "real"), TeeRoot("any name", kind, "real", pinned)):
        assert load_policy(encode_policy(world.policy(tee_roots=(real,)))).tee_roots == (real,)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"accepted_measurements": (b"m" * 3,)}, "accepted_measurements"),
        ({"accepted_ak_names": (b"n" * 3,)}, "accepted_ak_names"),
        ({"boot": {0: (b"d" * 3,)}}, "boot"),
        ({"boot": {99: (bytes(32),)}}, "boot"),
        ({"crl_grace_s": 10**20}, "crl_grace_s"),
    ],
)
def test_values_that_nothing_can_have_are_refused(
    changes: dict[str, Any], where: str, world: World
) -> None:
    with pytest.raises(PolicyError, match=where):
        load_policy(
            msgspec.json.encode(msgspec.to_builtins(world.policy(**changes), str_keys=True))
        )


def test_the_reference_names_every_field_and_what_a_host_renews() -> None:
    text = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name: "*renewed*" in row for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(named) == set(Policy.__struct_fields__)
    assert {name for name, renewed in named.items() if renewed} == set(RENEWED)
