"""The key and its certificates (attacks T01-T05, T31): each flaw has its own failure id."""

import datetime as dt

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.framework.errors import PolicyError
from harness.framework.evidence import binding

from .world import (
    AK_ATTRIBUTES,
    NOW,
    CertificateSpec,
    World,
    ids,
    judge,
    other_key,
    public_area,
    revocation_list,
)


def test_t01_another_tpms_quote_with_this_ones_certificate(world: World) -> None:
    other = other_key()
    evidence = world.evidence(ak_public=public_area(other), quote=world.quote(signer=other))
    assert ids(judge(world, evidence)) == {"chain.ak.key", "chain.launch.ak_name"}
    assert ids(judge(world, world.evidence(quote=world.quote(signer=other)))) == {"quote.signature"}


def test_t02_no_certificate_or_no_issuer(world: World) -> None:
    assert ids(judge(world, world.evidence(ak_certificate=None))) == {"chain.ak.missing"}
    assert ids(judge(world, world.evidence(issuer_chain=()))) == {"chain.issuer.missing"}
    garbage = world.evidence(ak_certificate=b"\x30\x03\2\1\1")
    assert ids(judge(world, garbage)) == {"chain.ak.format"}
    assert ids(judge(world, world.evidence(issuer_chain=(b"0",)))) == {"chain.issuer.format"}


def test_t02_self_signed_and_wrongly_issued_leaves(world: World) -> None:
    self_signed = world.with_leaf(issuer="pod-1", signer=world.ak)
    assert ids(judge(world, self_signed)) == {"chain.signature"}
    right_name_wrong_key = world.with_leaf(signer=other_key())
    assert ids(judge(world, right_name_wrong_key)) == {"chain.signature"}
    wrong_name_right_key = world.with_leaf(issuer="host-b")
    assert ids(judge(world, wrong_name_right_key)) == {"chain.signature"}


def test_t02_host_of_another_authority(world: World) -> None:
    assert ids(judge(world, world.with_host(signer=other_key()))) == {"chain.root"}
    assert ids(judge(world, world.with_host(issuer="elsewhere"))) == {"chain.root"}
    assert ids(judge(world, policy=world.policy(authority_roots=()))) == {"chain.root"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uris": ("urn:attestbench:vtpm:pod-1", "urn:x:y")}, "chain.ak.instance"),
        ({"uris": ()}, "chain.ak.instance"),
        ({"uris": ("urn:attestbench:vtpm:pod-2",)}, "chain.ak.instance"),
        ({"end": -dt.timedelta(seconds=1)}, "chain.validity"),
        ({"start": dt.timedelta(seconds=1)}, "chain.validity"),
        ({"purposes": ("1.3.6.1.5.5.7.3.2",)}, "chain.ak.usage"),
        ({"purposes": ("2.23.133.8.3", "1.3.6.1.5.5.7.3.2")}, "chain.ak.usage"),
        ({"purposes": ()}, "chain.ak.usage"),
        ({"ca": True}, "chain.ak.usage"),
        ({"key_usage": False}, "chain.ak.usage"),
        ({"critical_private": True, "private": (("1.2.3.4", b"\5\0"),)}, "chain.extension"),
        ({"private": ()}, "chain.ak.launch"),
    ],
)
def test_t02_wrong_leaf(world: World, changes: dict[str, object], expected: str) -> None:
    assert expected in ids(judge(world, world.with_leaf(**changes)))


def test_t02_weak_issuer_key(world: World) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    evidence = world.evidence(
        ak_certificate=msgspec.structs.replace(world.leaf_spec(), signer=weak).der(),
        issuer_chain=(msgspec.structs.replace(world.host_spec(), key=weak).der(),),
    )
    assert ids(judge(world, evidence)) == {"chain.algorithm"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ca": False, "path_length": None}, "chain.issuer.usage"),
        ({"key_usage": False}, "chain.issuer.usage"),
        ({"basic_constraints": False}, "chain.issuer.usage"),
        ({"end": -dt.timedelta(seconds=1)}, "chain.validity"),
        ({"private": ()}, "chain.host"),
        ({"private": ((binding.HOST_OID, b"\xa0"),)}, "chain.issuer.format"),
    ],
)
def test_t31_wrong_issuer(world: World, changes: dict[str, object], expected: str) -> None:
    assert expected in ids(judge(world, world.with_host(**changes)))


def test_t31_leaf_key_may_not_issue_further(world: World) -> None:
    """An issuer more than the host's path length of 0 allows."""
    middle = other_key()
    middle_spec = CertificateSpec(
        "middle", "host-a", middle, world.host_key, ca=True, private=world.host_spec().private
    )
    evidence = world.evidence(
        ak_certificate=msgspec.structs.replace(
            world.leaf_spec(), issuer="middle", signer=middle
        ).der(),
        issuer_chain=(middle_spec.der(), world.host_spec().der()),
    )
    assert ids(judge(world, evidence)) == {"chain.issuer.length"}


@pytest.mark.parametrize(
    "attributes",
    [AK_ATTRIBUTES & ~bit for bit in (0x2, 0x10, 0x20, 0x10000, 0x40000)]
    + [AK_ATTRIBUTES | 0x20000],
    ids=["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign", "decrypt"],
)
def test_t04_key_of_wrong_attributes(world: World, attributes: int) -> None:
    evidence = world.evidence(ak_public=public_area(world.ak, attributes))
    assert ids(judge(world, evidence)) == {"chain.ak.attributes", "chain.launch.ak_name"}


def test_t04_unreadable_key(world: World) -> None:
    assert "chain.ak.public" in ids(judge(world, world.evidence(ak_public=b"\0\1\0")))


def test_t05_revocation(world: World) -> None:
    host = world.host_spec()
    evidence = world.evidence(issuer_chain=(host.der(),))

    def found(*crls: bytes, require_crl: bool = True) -> set[str]:
        return ids(judge(world, evidence, world.policy(crls=crls, require_crl=require_crl)))

    key = world.root_key
    assert found(revocation_list(key, (host.serial + 1,))) == set()
    assert found(revocation_list(key, (host.serial,))) == {"chain.revoked"}
    assert found() == {"chain.revocation.missing"}
    assert found(require_crl=False) == set()
    stale = revocation_list(key, end=-dt.timedelta(seconds=1))
    assert found(stale) == {"chain.revocation.stale"}
    late = world.policy(crls=(stale,), crl_grace_s=2)
    assert ids(judge(world, evidence, late)) == set()
    assert ids(judge(world, evidence, late, now_s=NOW + 2)) == {"chain.revocation.stale"}
    stale_and_revoked = revocation_list(key, (host.serial,), end=-dt.timedelta(seconds=1))
    late = world.policy(crls=(stale_and_revoked,), crl_grace_s=2)
    assert ids(judge(world, evidence, late)) == {"chain.revoked"}
    assert found(revocation_list(other_key())) == {"chain.revocation.signature"}
    leaf = world.leaf_spec()
    by_host = revocation_list(world.host_key, (leaf.serial,), issuer="host-a")
    revoked_leaf = world.evidence(ak_certificate=leaf.der())
    policy = world.policy(crls=(world.crl, by_host))
    assert ids(judge(world, revoked_leaf, policy)) == {"chain.revoked"}


def test_unusable_policy_is_an_error_not_a_rejection(world: World) -> None:
    for broken in (world.policy(crls=(b"0",)), world.policy(authority_roots=(b"0",))):
        with pytest.raises(PolicyError, match="policy: "):
            judge(world, policy=broken)
