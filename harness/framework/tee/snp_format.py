"""AMD SEV-SNP's attestation report, TCB versions and the extensions of VCEK and VLEK certificates.

SEV-SNP firmware ABI (AMD 56860, table ATTESTATION_REPORT) and VCEK certificate and KDS interface
(AMD 57230). All integers are little-endian.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from harness.framework.errors import ParseError
from harness.framework.tee import der
from harness.framework.tee.vendor_certificate import VendorCertificate

REPORT_SIZE, SIGNED_SIZE = 0x4A0, 0x2A0
VERSIONS = range(2, 6)
ECDSA_P384_SHA384 = 1
_SIGNING_KEYS = {0: "vcek", 1: "vlek"}
_NUMBER = 72
_OID = "1.3.6.1.4.1.3704.1."
_SPL_OIDS = {
    "bootloader": "3.1",
    "tee": "3.2",
    "snp": "3.3",
    "microcode": "3.8",
    "fmc": "3.9",
}
_INTEGER, _OCTETS, _IA5 = 0x02, 0x04, 0x16
_CHIP_ID = 64
_TURIN_CHIP_ID = 8
# Bytes of a TCB version, by product line; those not named are reserved.
_LAYOUT: dict[str, tuple[str | None, ...]] = {
    "Milan": ("bootloader", "tee", None, None, None, None, "snp", "microcode"),
    "Turin": ("fmc", "bootloader", "tee", "snp", None, None, None, "microcode"),
}
_LAYOUT["Genoa"] = _LAYOUT["Milan"]
# The product of a certificate; parts of Genoa's line have names of their own.
_LINES = {
    "Milan": "Milan",
    "Genoa": "Genoa",
    "Bergamo": "Genoa",
    "Siena": "Genoa",
    "Turin": "Turin",
}


class Report(NamedTuple):
    """An attestation report. TCBs are the 8 bytes as stored, since their fields vary by product.

    ``signing_key`` is ``vcek`` or ``vlek``; ``model`` is CPUID's combined family and model
    (None before version 3); ``mitigations`` are those verified at launch and now (0 before version
    5); ``signature`` is DER over ``signed``.
    """

    version: int
    guest_svn: int
    policy: int
    vmpl: int
    current_tcb: bytes
    platform_info: int
    author_key_enabled: bool
    signing_key: str
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    reported_tcb: bytes
    model: tuple[int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    mitigations: tuple[int, int]
    signature: bytes
    signed: bytes


class Endorsement(NamedTuple):
    """What a VCEK or VLEK certificate says: ``line`` is Milan, Genoa or Turin.

    ``chip_id`` is None in a VLEK, which a cloud provider uses on many chips.
    """

    line: str
    tcb: Mapping[str, int]
    chip_id: bytes | None


def parse_report(raw: bytes) -> Report:
    """Parse a report of version 2 to 5.

    Raises:
        ParseError: another size, version, signature algorithm or signing key, or spare bytes that
            nobody signs and that aren't zero.
    """
    if len(raw) != REPORT_SIZE:
        raise ParseError("SNP report", f"{len(raw)} bytes, expected {REPORT_SIZE}")
    version, guest_svn, policy = struct.unpack_from("<IIQ", raw, 0)
    vmpl, algorithm = struct.unpack_from("<II", raw, 0x30)
    platform_info, flags = struct.unpack_from("<QI", raw, 0x40)
    if version not in VERSIONS:
        raise ParseError("SNP report", f"version {version}, expected 2 to 5")
    if algorithm != ECDSA_P384_SHA384:
        raise ParseError("SNP report", f"signature algorithm {algorithm}, expected 1")
    signing_key = _SIGNING_KEYS.get(flags >> 2 & 7)
    if signing_key is None:
        raise ParseError("SNP report", f"signing key {flags >> 2 & 7}, expected VCEK or VLEK")
    return Report(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        vmpl=vmpl,
        current_tcb=raw[0x38:0x40],
        platform_info=platform_info,
        author_key_enabled=bool(flags & 1),
        signing_key=signing_key,
        report_data=raw[0x50:0x90],
        measurement=raw[0x90:0xC0],
        host_data=raw[0xC0:0xE0],
        id_key_digest=raw[0xE0:0x110],
        author_key_digest=raw[0x110:0x140],
        reported_tcb=raw[0x180:0x188],
        model=(raw[0x188], raw[0x189]) if version >= 3 else None,
        chip_id=raw[0x1A0:0x1E0],
        committed_tcb=raw[0x1E0:0x1E8],
        launch_tcb=raw[0x1F0:0x1F8],
        mitigations=struct.unpack_from("<QQ", raw, 0x1F8) if version >= 5 else (0, 0),
        signature=_signature(raw),
        signed=raw[:SIGNED_SIZE],
    )


def parse_endorsement(certificate: VendorCertificate) -> Endorsement:
    """Read AMD's extensions. Raises ParseError: one is missing or malformed, or a new product."""
    extensions = {
        oid.removeprefix(_OID): value
        for oid, value in certificate.extensions.items()
        if oid.startswith(_OID)
    }
    name = _content(extensions, "2", _IA5).decode("ascii", "backslashreplace")
    line = _LINES.get(name.partition("-")[0])
    if line is None:
        raise ParseError("AMD certificate", f"product {name!r}, expected {', '.join(_LINES)}")
    tcb = {}
    for part in filter(None, _LAYOUT[line]):
        value = _content(extensions, _SPL_OIDS[part], _INTEGER)
        number = int.from_bytes(value, signed=True)
        if not 0 <= number <= 255:
            raise ParseError("AMD certificate", f"version {number} of {part}, expected 0 to 255")
        tcb[part] = number
    return Endorsement(line, tcb, _chip_id(extensions, line))


def tcb_parts(tcb: bytes, line: str) -> dict[str, int] | None:
    """The numbers of a TCB version by part, or None when a reserved byte isn't zero."""
    layout = _LAYOUT[line]
    if any(value for part, value in zip(layout, tcb, strict=True) if part is None):
        return None
    return {part: value for part, value in zip(layout, tcb, strict=True) if part is not None}


def chip_id_of(report: Report, line: str) -> bytes | None:
    """The chip's identity in a report, as its certificate has it; None when it is masked.

    Raises:
        ParseError: bytes beyond a Turin's 8 aren't zero.
    """
    if not any(report.chip_id):
        return None
    if line != "Turin":
        return report.chip_id
    if any(report.chip_id[_TURIN_CHIP_ID:]):
        raise ParseError("SNP report", "a Turin's chip id is longer than 8 bytes")
    return report.chip_id[:_TURIN_CHIP_ID]


def line_of_model(model: tuple[int, int]) -> str | None:
    """The product line of a CPUID family and model, None for one that isn't known."""
    family, number = model
    if family == 0x19:
        if number <= 0x0F:
            return "Milan"
        return "Genoa" if 0x10 <= number <= 0x1F or 0xA0 <= number <= 0xAF else None
    return "Turin" if family == 0x1A and number <= 0x1F else None


def _signature(raw: bytes) -> bytes:
    r, s = (
        int.from_bytes(raw[at : at + _NUMBER], "little")
        for at in (SIGNED_SIZE, SIGNED_SIZE + _NUMBER)
    )
    if r >> 384 or s >> 384 or any(raw[SIGNED_SIZE + 2 * _NUMBER :]):
        raise ParseError("SNP report", "the signature's spare bytes are not zero")
    return encode_dss_signature(r, s)


def _content(extensions: Mapping[str, bytes], oid: str, tag: int) -> bytes:
    value = extensions.get(oid)
    if value is None:
        raise ParseError("AMD certificate", f"has no extension {_OID}{oid}")
    element = der.read(value, 0, f"extension {_OID}{oid}")
    if element.tag != tag or element.end != len(value):
        raise ParseError("AMD certificate", f"extension {_OID}{oid} is of another type")
    return element.content_of(value)


def _chip_id(extensions: Mapping[str, bytes], line: str) -> bytes | None:
    value = extensions.get("4")
    if value is None:
        return None
    size = _TURIN_CHIP_ID if line == "Turin" else _CHIP_ID
    # Earlier certificates hold the bytes as they are, later ones as an OCTET STRING.
    if len(value) != size:
        value = _content(extensions, "4", _OCTETS)
    if len(value) != size:
        raise ParseError("AMD certificate", f"chip id of {len(value)} bytes, expected {size}")
    return value
