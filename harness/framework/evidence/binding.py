"""How the parts of evidence are bound to each other: every hash that one part carries of another.

Each binding starts with its own label, so that a value made for one purpose never serves another.
"""

import hashlib

import msgspec

from harness.framework.evidence import bundle
from harness.framework.evidence.bundle import ImaPrefix, LaunchClaims

# From UUIDs under 2.25 (X.667): no registration needed, and no clash.
LAUNCH_OID = "2.25.151830273512905273811473562897341920518"
HOST_OID = "2.25.151830273512905273811473562897341920519"
AIK_EKU_OID = "2.23.133.8.3"  # tcg-kp-AIKCertificate
INSTANCE_URI_PREFIX = "urn:attestbench:vtpm:"

_QUOTE = b"attestbench quote v1\0"
_CONFIRMED = b"attestbench quote with confirmation key v1\0"
_LAUNCH = b"attestbench launch v1\0"
_FRESH = b"attestbench attestation report v2\0"
_PART = b"attestbench part of an IMA log v1\0"
_DEEP = b"attestbench deep quote v1\0"
_CHANNEL = b"attestbench channel v1\0"
_MAX_BINDING_SIZE = 8192


class LaunchBinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Value of the :data:`LAUNCH_OID` extension of a vTPM AK certificate.

    ``launch_sha256`` is over the canonical CBOR of LaunchClaims, ``report_sha256`` over the TEE
    report page, ``measurement`` the launch measurement in it.
    """

    launch_sha256: bytes
    report_sha256: bytes
    measurement: bytes
    host_ak_name: bytes


class HostBinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Value of the :data:`HOST_OID` extension of a hardware TPM's certificate."""

    host: str
    ak_name: bytes


def quote_qualifier(nonce: bytes, confirmation_key: bytes | None = None) -> bytes:
    """``extraData`` of the vTPM quote: 32 bytes."""
    if confirmation_key is None:
        return hashlib.sha256(_QUOTE + nonce).digest()
    return hashlib.sha256(_CONFIRMED + _sha256(nonce) + _sha256(confirmation_key)).digest()


def launch_report_data(claims: LaunchClaims) -> bytes:
    """Report data of the TEE report made at launch: 64 bytes."""
    return hashlib.sha512(_LAUNCH + bundle.encode(claims)).digest()


def fresh_report_data(
    nonce: bytes,
    attest: bytes,
    boot_log_sha256: bytes,
    ima_log_sha256: bytes,
    event_log: bytes = b"",
    launch_event_log: bytes = b"",
) -> bytes:
    """Report data of a TEE report made for one attestation: 64 bytes.

    The logs are bound beside the quote: where the host relays the TPM, the guest vouches for them.
    ``event_log`` is the report's own, ``launch_event_log`` the launch report's, if they have one.
    """
    bound = [_sha256(nonce), _sha256(attest), boot_log_sha256, ima_log_sha256]
    for label, log in ((b"own\0", event_log), (b"launch\0", launch_event_log)):
        if log:
            bound.append(_sha256(label + log))
    return hashlib.sha512(_FRESH + b"".join(bound)).digest()


def ima_log_digest(log: bytes, prefix: ImaPrefix | None) -> bytes:
    """``ima_log_sha256`` of :func:`fresh_report_data`; with a prefix ``log`` is what follows it."""
    digest = _sha256(log)
    return digest if prefix is None else _sha256(_PART + bundle.encode(prefix) + digest)


def deep_quote_qualifier(nonce: bytes, attest: bytes) -> bytes:
    """``extraData`` of the hardware TPM's quote for one attestation: 32 bytes."""
    return hashlib.sha256(_DEEP + _sha256(nonce) + _sha256(attest)).digest()


def channel_report_data(spki_der: bytes, nonce: bytes) -> bytes:
    """Report data that bind a channel's public key (SubjectPublicKeyInfo, DER): 64 bytes."""
    return hashlib.sha512(_CHANNEL + _sha256(spki_der) + _sha256(nonce)).digest()


def launch_binding(claims: LaunchClaims, report: bytes, measurement: bytes) -> LaunchBinding:
    """What a vTPM AK certificate must say about the launch behind it."""
    return LaunchBinding(
        launch_sha256=_sha256(bundle.encode(claims)),
        report_sha256=_sha256(report),
        measurement=measurement,
        host_ak_name=claims.host_ak_name,
    )


def decode_launch_binding(value: bytes) -> LaunchBinding:
    """Read the :data:`LAUNCH_OID` extension. Raises ParseError."""
    return bundle.decode(value, LaunchBinding, _MAX_BINDING_SIZE)


def decode_host_binding(value: bytes) -> HostBinding:
    """Read the :data:`HOST_OID` extension. Raises ParseError."""
    return bundle.decode(value, HostBinding, _MAX_BINDING_SIZE)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
