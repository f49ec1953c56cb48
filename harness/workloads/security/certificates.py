"""The chain of certificates (rows T02, T05 and T31)."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from harness.framework.authority import Authority
from harness.framework.hardware_tpm.manufacture import manufacturer_chain
from harness.workloads.security.lab import Lab
from harness.workloads.security.registry import Mounted, attack
from harness.workloads.security.world import World
from harness.workloads.software_keys import CertificateSpec, Key, new_key

_TLS_CLIENT = "1.3.6.1.5.5.7.3.2"
_SECOND = dt.timedelta(seconds=1)
# AlgorithmIdentifier of ecdsa-with-SHA256 and of ecdsa-with-SHA1 (RFC 5758, RFC 3279).
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


@attack("T02", "self-signed-certificate", "evidence")
def self_signed(world: World) -> Mounted:
    """A software key certifies the pod's attestation key under its own name."""
    lab, thief = Lab(world), new_key()
    honest = lab.leaf(world.evidence.ak_public, lab.claims, lab.launch_report)
    forged = msgspec.structs.replace(honest, issuer="vTPM", signer=thief)
    return world.edit(ak_certificate=forged.der(world.now_s))


@attack("T02", "certificate-of-another-authority", "evidence")
def other_authority(world: World) -> Mounted:
    """A whole chain of the same form, but from an authority that the policy doesn't name."""
    return world.against_clean(world.presented(Lab(world).evidence()))


@attack("T02", "right-name-wrong-key", "evidence")
def right_name_wrong_key(world: World) -> Mounted:
    """The issuer's name on a certificate that it didn't sign."""
    lab = Lab(world)
    return lab.certified(lab.evidence(leaf={"signer": new_key()}))


def _flawed_leaf(case: str, **leaf: Any) -> Callable[[World], Mounted]:
    """Register a leaf that its rightful issuer signs, with one flaw."""

    def mount(world: World) -> Mounted:
        lab = Lab(world)
        return lab.certified(lab.evidence(leaf=leaf))

    return attack("T02", case, "evidence")(mount)


_flawed_leaf("other-instance-name", uris=("urn:attestbench:vtpm:another",))
_flawed_leaf("no-instance-name", uris=())
_flawed_leaf("expired-certificate", end=-_SECOND)
_flawed_leaf("certificate-not-yet-valid", start=_SECOND)
_flawed_leaf("wrong-purpose", purposes=(_TLS_CLIENT,))
_flawed_leaf("leaf-is-an-authority", ca=True, cert_sign=False)
_flawed_leaf("certificate-without-launch", private=())


@attack("T02", "extra-instance-name", "evidence")
def extra_name(world: World) -> Mounted:
    """A second subject alternative name beside the rightful one."""
    lab = Lab(world)
    honest = lab.leaf(world.evidence.ak_public, lab.claims, lab.launch_report)
    uris = (*honest.uris, "urn:attestbench:vtpm:another")
    return lab.certified(lab.evidence(leaf={"uris": uris}))


@attack("T02", "sha1-certificate", "evidence")
def sha1_certificate(world: World) -> Mounted:
    """The rightful issuer signs over SHA-1."""
    lab = Lab(world)
    good = lab.evidence()
    der = _signed_over_sha1(good.ak_certificate or b"", lab.host_key)
    return lab.certified(msgspec.structs.replace(good, ak_certificate=der))


def _signed_over_sha1(der: bytes, signer: Key) -> bytes:
    """The certificate again with ecdsa-with-SHA1, which no library here still makes (RFC 5280)."""
    signed = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    signed = _sequence(signed[4:].replace(_ECDSA_SHA256, _ECDSA_SHA1, 1))
    signature = signer.sign(signed, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - the flaw
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    return _sequence(signed + _ECDSA_SHA1 + bits)


def _sequence(content: bytes) -> bytes:
    return b"\x30\x82" + len(content).to_bytes(2) + content


@attack("T05", "revoked-host", "deployment")
def revoked_host(world: World) -> Mounted:
    """The authority that enrolled the host lists the hardware TPM's certificate."""
    # A copy: the campaign's host must stay enrolled.
    source = world.platform.directory / "authority"
    copy = world.folder("revoking-authority")
    for file in source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    authority = Authority(copy)
    certificate = x509.load_der_x509_certificate(world.evidence.issuer_chain[0])
    authority.revoke(certificate.serial_number)
    policy = world.policy(crls=(authority.crl(),))
    return world.against_clean(world.presented(world.evidence, policy))


def _revocation(
    case: str, crls: Callable[[Lab], tuple[bytes, ...]], **changes: Any
) -> Callable[[World], Mounted]:
    """Register lists to judge the lab's good chain by."""

    def mount(world: World) -> Mounted:
        lab = Lab(world)
        return lab.certified(lab.evidence(), lab.policy(crls=crls(lab), **changes))

    return attack("T05", case, "evidence")(mount)


_revocation(
    "revoked-attestation-key",
    lambda lab: (lab.crl(), lab.crl(3, signer=lab.host_key, issuer="lab host")),
)
_revocation("stale-revocation-list", lambda lab: (lab.crl(end=-_SECOND),))
_revocation("stale-list-within-its-grace", lambda lab: (lab.crl(end=-_SECOND),), crl_grace_s=60)
_revocation("no-revocation-list", lambda _lab: ())
_revocation("forged-revocation-list", lambda lab: (lab.crl(signer=new_key()),))


@attack("T31", "host-key-may-not-issue", "evidence")
def host_may_not_issue(world: World) -> Mounted:
    """The host's certificate is for a key that may sign, but no certificates."""
    lab = Lab(world)
    return lab.certified(lab.evidence(host={"cert_sign": False}))


@attack("T31", "issuer-below-the-host", "evidence")
def issuer_below_the_host(world: World) -> Mounted:
    """The host makes another issuer, which its path length of 0 doesn't allow."""
    lab, below = Lab(world), new_key()
    good = lab.evidence(leaf={"issuer": "below", "signer": below})
    middle = CertificateSpec(
        "below", "lab host", below.public_key(), lab.host_key, ca=True, path_length=0,
        private=lab.host.private,
    )  # fmt: skip
    chain = (middle.der(world.now_s), *good.issuer_chain)
    return lab.certified(msgspec.structs.replace(good, issuer_chain=chain))


@attack("T31", "issued-by-the-endorsement-authority", "deployment")
def issued_by_the_manufacturer(world: World) -> Mounted:
    """The TPM manufacturer's authority, good for endorsement keys, as the attestation key's."""
    issuer, root = manufacturer_chain(world.platform.directory)
    policy = world.policy()
    chain = (*world.evidence.issuer_chain, issuer, root)
    return world.against_clean(world.presented(world.edited(issuer_chain=chain), policy))


@attack("T31", "attestation-key-certifies", "evidence")
def attestation_key_certifies(world: World) -> Mounted:
    """A pod's attestation key, whose certificate is no authority's, issues for a second key."""
    lab, thief = Lab(world), new_key()
    leaf = lab.leaf(world.evidence.ak_public, lab.claims, lab.launch_report)
    parent = msgspec.structs.replace(leaf, key=thief.public_key(), serial=4)
    child = msgspec.structs.replace(leaf, issuer="vTPM", signer=thief, serial=5)
    evidence = lab.evidence()
    chain = (parent.der(world.now_s), *evidence.issuer_chain)
    changed = msgspec.structs.replace(
        evidence, ak_certificate=child.der(world.now_s), issuer_chain=chain
    )
    return lab.certified(changed)
