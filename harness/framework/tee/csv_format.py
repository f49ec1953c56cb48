"""Hygon CSV's structures: certificates and attestation reports (Hygon CSV API, csv-rs).

All integers are little-endian. A number of the curve (72 bytes) has 32 used bytes.
"""

import struct
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.tee.sm2 import Signature

CA_SIZE, CERTIFICATE_SIZE, PAGE_SIZE = 832, 2084, 4096
CA_SIGNED, CERTIFICATE_SIGNED = 576, 1044
REPORT_SIGNED = {1: 180, 2: 1024}
_REPORT_END = {1: 2548, 2: 3380}
_ISSUER_SLOTS = (1044, 1564)
SLOT_SIZE = 520
SM2_CURVE, ALGORITHM_SM2_SA = 3, 4
USAGE_HRK, USAGE_HSK, USAGE_NONE = 0x0, 0x13, 0x1000
USAGE_OCA, USAGE_PEK, USAGE_PDH, USAGE_CEK = 0x1001, 0x1002, 0x1003, 0x1004
_V2_SIGNER = 1168
_V1_SIGNER = 336
_NUMBER = 72
_RTMRS = 5


class IssuerSignature(NamedTuple):
    """A signature slot of a certificate, with the usage and algorithm that it claims."""

    usage: int
    algorithm: int
    signature: Signature


class Certificate(NamedTuple):
    """A key with its usage and user id; ``signed`` are the bytes that issuers sign."""

    usage: int
    algorithm: int
    public: bytes
    user_id: bytes
    key_id: bytes
    issuer_key_id: bytes
    signed: bytes
    signatures: tuple[IssuerSignature, ...]


class Report(NamedTuple):
    """An attestation report, unmasked, except for ``signed`` and ``mac_input`` (as stored).

    ``serial`` is the chip's (64 bytes, zero-padded), ``pek`` the signer's certificate.
    """

    version: int
    user_key_digest: bytes
    vm_id: bytes
    vm_version: bytes
    report_data: bytes
    mnonce: bytes
    measurement: bytes
    policy: int
    signature_usage: int
    signature_algorithm: int
    rtmrs: tuple[bytes, ...]
    signature: Signature
    signed: bytes
    pek: bytes
    serial: bytes
    mac_input: bytes
    mac: bytes


def parse_ca_certificate(raw: bytes) -> Certificate:
    """Parse an 832-byte certificate (HRK or HSK). Raises ParseError."""
    if len(raw) != CA_SIZE:
        raise ParseError("CSV CA certificate", f"{len(raw)} bytes, expected {CA_SIZE}")
    (usage,) = struct.unpack_from("<I", raw, 36)
    signature = _signature(raw, CA_SIGNED, "CSV CA certificate")
    _require_zeros(raw, 720, CA_SIZE, "CSV CA certificate")
    return Certificate(
        usage=usage,
        algorithm=ALGORITHM_SM2_SA,
        public=_public_key(raw, 64, "CSV CA certificate"),
        user_id=_user_id(raw, 212, "CSV CA certificate"),
        key_id=raw[4:20],
        issuer_key_id=raw[20:36],
        signed=raw[:CA_SIGNED],
        # The format has one slot and no usage beside it: the signer is the HRK.
        signatures=(IssuerSignature(USAGE_HRK, ALGORITHM_SM2_SA, signature),),
    )


def parse_certificate(raw: bytes) -> Certificate:
    """Parse a 2,084-byte certificate (CEK, PEK, OCA, PDH). Raises ParseError."""
    if len(raw) != CERTIFICATE_SIZE:
        raise ParseError("CSV certificate", f"{len(raw)} bytes, expected {CERTIFICATE_SIZE}")
    usage, algorithm = struct.unpack_from("<II", raw, 8)
    signatures = []
    for at in _ISSUER_SLOTS:
        issuer_usage, issuer_algorithm = struct.unpack_from("<II", raw, at)
        if issuer_usage == USAGE_NONE:
            _require_zeros(raw, at + 4, at + SLOT_SIZE, "CSV certificate")
            continue
        _require_zeros(raw, at + 152, at + SLOT_SIZE, "CSV certificate")
        signature = _signature(raw, at + 8, "CSV certificate")
        signatures.append(IssuerSignature(issuer_usage, issuer_algorithm, signature))
    return Certificate(
        usage=usage,
        algorithm=algorithm,
        public=_public_key(raw, 16, "CSV certificate"),
        user_id=_user_id(raw, 164, "CSV certificate"),
        key_id=b"",
        issuer_key_id=raw[420:436],
        signed=raw[:CERTIFICATE_SIGNED],
        signatures=tuple(signatures),
    )


def parse_report(page: bytes) -> Report:
    """Parse a report page as the processor returns it: V1 (masked) or V2 (extended).

    Confidential Containers' attester unmasks the signer of a V1 page; that is read too.

    Raises:
        ParseError: not 4,096 bytes, something after the report, or numbers that are too long.
    """
    if len(page) != PAGE_SIZE:
        raise ParseError("CSV report", f"{len(page)} bytes, expected {PAGE_SIZE}")
    # Version 2 stores the signer in clear at its own place; in version 1 that is inside the PEK.
    version = 2 if _is_pek(page, _V2_SIGNER) else 1
    _require_zeros(page, _REPORT_END[version], PAGE_SIZE, "CSV report")
    signer = _V2_SIGNER if version == 2 else _V1_SIGNER
    mask = page[188:192] if version == 1 else bytes(4)
    body = unmask(page[:188], mask)
    in_clear = version == 1 and any(mask) and _is_pek(page, signer)
    signer_mask = bytes(4) if in_clear else mask
    identity = unmask(page[signer : signer + CERTIFICATE_SIZE + 64], signer_mask)
    policy, usage, algorithm = struct.unpack_from("<III", body, 176)
    rtmrs = (page[208 + 32 * i : 240 + 32 * i] for i in range(_RTMRS)) if version == 2 else ()
    return Report(
        version=version,
        user_key_digest=body[0:32],
        vm_id=body[32:48],
        vm_version=body[48:64],
        report_data=body[64:128],
        mnonce=body[128:144],
        measurement=body[144:176],
        policy=policy,
        signature_usage=usage,
        signature_algorithm=algorithm,
        rtmrs=tuple(rtmrs),
        signature=_signature(page, 192 if version == 1 else 1024, "CSV report"),
        signed=page[: REPORT_SIGNED[version]],
        pek=identity[:CERTIFICATE_SIZE],
        serial=identity[CERTIFICATE_SIZE:],
        mac_input=page[signer : signer + CERTIFICATE_SIZE + 96],
        mac=page[signer + CERTIFICATE_SIZE + 96 : signer + CERTIFICATE_SIZE + 128],
    )


def unmask(data: bytes, mask: bytes) -> bytes:
    """XOR ``data`` with the repeated 4-byte mask (its own inverse)."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(len(data))


def encode_number(value: int) -> bytes:
    """A 72-byte little-endian number."""
    return value.to_bytes(_NUMBER, "little")


def _require_zeros(raw: bytes, start: int, end: int, what: str) -> None:
    """Nobody signs these bytes, so they must not carry anything."""
    if any(raw[start:end]):
        raise ParseError(what, f"the spare bytes {start} to {end} are not zero")


def _is_pek(page: bytes, at: int) -> bool:
    return struct.unpack_from("<II", page, at + 8) == (USAGE_PEK, ALGORITHM_SM2_SA)


def _number(raw: bytes, at: int, what: str) -> int:
    value = int.from_bytes(raw[at : at + _NUMBER], "little")
    if value >> 256:
        raise ParseError(what, f"number at offset {at} is longer than 32 bytes")
    return value


def _signature(raw: bytes, at: int, what: str) -> Signature:
    return Signature(_number(raw, at, what), _number(raw, at + _NUMBER, what))


def _public_key(raw: bytes, at: int, what: str) -> bytes:
    (curve,) = struct.unpack_from("<I", raw, at)
    if curve != SM2_CURVE:
        raise ParseError(what, f"curve {curve} at offset {at}, expected SM2 ({SM2_CURVE})")
    x, y = _number(raw, at + 4, what), _number(raw, at + 4 + _NUMBER, what)
    return x.to_bytes(32) + y.to_bytes(32)


def _user_id(raw: bytes, at: int, what: str) -> bytes:
    (size,) = struct.unpack_from("<H", raw, at)
    if size > 254:
        raise ParseError(what, f"user id of {size} bytes at offset {at}, at most 254")
    return raw[at + 2 : at + 2 + size]
