"""Intel TDX's quote, its quoting enclave's report, and what a PCK certificate says of its platform.

Intel TDX DCAP quoting library API, appendix A.3 (quote format, version 4 and 5), and Intel SGX PCK
certificate and revocation list specification. All integers are little-endian.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.errors import ParseError
from harness.framework.evidence.reader import Reader
from harness.framework.tee import der

TEE_TDX, ECDSA_P256 = 0x81, 2
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
# Intel's quoting enclave for TDs. Other enclaves on a genuine platform can be certified too.
_QE_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
_QE_PRODUCT = 2
_SGX_DEBUG = 0x02
_QE_CERTIFICATION, _PCK_CHAIN = 6, 5
_HEADER = 48
_QE_REPORT = 384
_TD_10, _TD_15, _TD_15_EXTENDED = 584, 648, 885
_BODY_SIZES = {2: _TD_10, 3: _TD_15, 4: _TD_15_EXTENDED}
# VM index, unique id of the TD, device information, then the service TDs' hashes and attributes
# around the versions at the TD's creation.
_EXTENSION = struct.Struct("<B32s48s48s8s16s16s12s48s8s")
_RTMRS = 4
_CHAIN_LENGTHS = (2, 3)
# 1.2.840.113741.1.13.1, as text and as the content of a DER OBJECT IDENTIFIER.
SGX_OID = "1.2.840.113741.1.13.1"
_SGX = bytes.fromhex("2a864886f84d010d01")
_OBJECT, _INTEGER, _OCTETS = 0x06, 0x02, 0x04
_SVNS = 16


class TdReport(NamedTuple):
    """The body of a quote. ``service_td`` is zero where no service TD is bound (or before 1.5).

    What only the extended body of TDX 1.5 has is zero in the others: ``vm`` is 0 for the TD itself
    and 1 to 3 for a virtual machine that it partitioned off, ``devices`` the hash of its devices'
    information. ``later_service_tds`` are the hashes of those bound at the TD's creation and now.
    """

    tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: int
    attributes: int
    xfam: int
    mrtd: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmrs: tuple[bytes, ...]
    report_data: bytes
    service_td: bytes
    vm: int
    devices: bytes
    later_service_tds: tuple[bytes, ...]


class QeReport(NamedTuple):
    """The report of the quoting enclave; ``signed`` is all of it."""

    miscselect: bytes
    attributes: bytes
    mrsigner: bytes
    isv_prod_id: int
    isv_svn: int
    report_data: bytes
    signed: bytes


class Quote(NamedTuple):
    """A quote. Signatures are DER; ``attestation_key`` is x then y, ``chain`` DER, leaf first."""

    body: TdReport
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: QeReport
    qe_signature: bytes
    qe_auth_data: bytes
    chain: tuple[bytes, ...]


class Platform(NamedTuple):
    """What a PCK certificate says of its platform; ``svns`` are 16 SGX TCB component versions."""

    ppid: bytes
    fmspc: bytes
    pce_id: bytes
    pce_svn: int
    svns: tuple[int, ...]


def parse_quote(raw: bytes) -> Quote:
    """Parse a quote of version 4 or 5 about a TD.

    Raises:
        ParseError: truncated, another version, key type, TEE or kind of certification data, sizes
            that don't agree, or anything but zeros after the signature data.
    """
    reader = Reader(raw, "TDX quote", "<")
    version, key_type, tee_type = reader.u16(), reader.u16(), reader.u32()
    reader.take(4)  # SVNs of QE and PCE, which the certification data prove
    vendor = reader.take(16)
    reader.take(20)
    if version not in (4, 5) or (key_type, tee_type) != (ECDSA_P256, TEE_TDX):
        raise ParseError(
            "TDX quote",
            f"version {version}, key type {key_type}, TEE {tee_type:#x}; expected 4 or 5, "
            f"{ECDSA_P256}, {TEE_TDX:#x}",
        )
    if vendor != INTEL_QE_VENDOR:
        raise ParseError("TDX quote", f"quoting enclave of vendor {vendor.hex()}, expected Intel")
    size = _body_size(reader) if version == 5 else _TD_10
    body = _body(reader.take(size))
    signed = raw[: reader.at]
    data = reader.take(reader.u32())
    if any(raw[reader.at :]):
        raise ParseError("TDX quote", f"bytes after the signature data at offset {reader.at}")
    return _signature_data(data, body, signed)


def is_intels_enclave(qe: QeReport) -> bool:
    """Whether a report is of Intel's quoting enclave for TDs, not under a debugger."""
    debugged = qe.attributes[0] & _SGX_DEBUG
    return qe.mrsigner == _QE_SIGNER and qe.isv_prod_id == _QE_PRODUCT and not debugged


@lru_cache(maxsize=64)
def parse_platform(extension: bytes) -> Platform:
    """Read the SGX extension of a PCK certificate. Raises ParseError."""
    values = _sgx_values(extension)
    tcb = _sgx_values(_value(values, b"\2"))
    svns = tuple(_integer(tcb, b"\2" + bytes([part])) for part in range(1, _SVNS + 1))
    return Platform(
        ppid=_octets(values, b"\1", 16),
        fmspc=_octets(values, b"\4", 6),
        pce_id=_octets(values, b"\3", 2),
        pce_svn=_integer(tcb, b"\2\x11"),
        svns=svns,
    )


def _body_size(reader: Reader) -> int:
    kind, size = reader.u16(), reader.u32()
    if _BODY_SIZES.get(kind) != size:
        raise ParseError("TDX quote", f"body of type {kind} with {size} bytes, expected a TD's")
    return size


def _body(raw: bytes) -> TdReport:
    seam, attributes, xfam = struct.unpack_from("<QQQ", raw, 112)
    extension = raw[_TD_15:] or bytes(_EXTENSION.size)
    vm, _, devices, initial, *_, current, _ = _EXTENSION.unpack(extension)
    return TdReport(
        tcb_svn=raw[:16],
        mr_seam=raw[16:64],
        mr_signer_seam=raw[64:112],
        seam_attributes=seam,
        attributes=attributes,
        xfam=xfam,
        mrtd=raw[136:184],
        mr_config_id=raw[184:232],
        mr_owner=raw[232:280],
        mr_owner_config=raw[280:328],
        rtmrs=tuple(raw[328 + 48 * i : 376 + 48 * i] for i in range(_RTMRS)),
        report_data=raw[520:584],
        service_td=raw[600:648] or bytes(48),
        vm=vm,
        devices=devices,
        later_service_tds=(initial, current),
    )


def _signature_data(data: bytes, body: TdReport, signed: bytes) -> Quote:
    reader = Reader(data, "TDX quote's signature data", "<")
    signature, key = _signature(reader.take(64)), reader.take(64)
    certification = Reader(_typed(reader, _QE_CERTIFICATION), "QE certification data", "<")
    reader.end()
    report, qe_signature = certification.take(_QE_REPORT), _signature(certification.take(64))
    auth_data = certification.take(certification.u16())
    chain = _chain(_typed(certification, _PCK_CHAIN))
    certification.end()
    return Quote(body, signed, signature, key, _qe_report(report), qe_signature, auth_data, chain)


def _typed(reader: Reader, expected: int) -> bytes:
    kind = reader.u16()
    if kind != expected:
        raise ParseError(reader.what, f"certification data of type {kind}, expected {expected}")
    return reader.take(reader.u32())


def _qe_report(raw: bytes) -> QeReport:
    product, svn = struct.unpack_from("<HH", raw, 256)
    return QeReport(raw[16:20], raw[48:64], raw[128:160], product, svn, raw[320:384], raw)


def _signature(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


@lru_cache(maxsize=64)
def _chain(text: bytes) -> tuple[bytes, ...]:
    """The certificates of a PEM chain, which nobody signs and which must therefore be exact."""
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except (ValueError, x509.InvalidVersion) as error:
        raise ParseError("PCK chain", " ".join(str(error).split())[:200]) from None
    if len(certificates) not in _CHAIN_LENGTHS:
        raise ParseError("PCK chain", f"{len(certificates)} certificates, expected 2 or 3")
    exact = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    if text.replace(b"\r\n", b"\n").rstrip(b"\n\0") != exact.rstrip(b"\n"):
        raise ParseError("PCK chain", "holds more than its certificates")
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _sgx_values(raw: bytes) -> dict[bytes, bytes]:
    """Value (DER) by the part of its OID below Intel's, of a SEQUENCE of such pairs."""
    values = {}
    for pair in der.sequence(raw, "SGX extension"):
        parts: Sequence[der.Element] = list(der.sequence(pair.of(raw), "SGX extension"))
        item = pair.of(raw)
        if len(parts) != 2 or parts[0].tag != _OBJECT:
            raise ParseError("SGX extension", "isn't made of pairs of OID and value")
        oid = parts[0].content_of(item)
        if not oid.startswith(_SGX) or oid.removeprefix(_SGX) in values:
            raise ParseError("SGX extension", f"unexpected or repeated OID {oid.hex()}")
        values[oid.removeprefix(_SGX)] = parts[1].of(item)
    return values


def _value(values: dict[bytes, bytes], oid: bytes) -> bytes:
    if oid not in values:
        raise ParseError("SGX extension", f"has no {SGX_OID}.{'.'.join(map(str, oid))}")
    return values[oid]


def _octets(values: dict[bytes, bytes], oid: bytes, size: int) -> bytes:
    raw = _value(values, oid)
    element = der.read(raw, 0, "SGX extension")
    content = element.content_of(raw)
    if element.tag != _OCTETS or len(content) != size:
        raise ParseError("SGX extension", f"{oid.hex()} isn't {size} bytes")
    return content


def _integer(values: dict[bytes, bytes], oid: bytes) -> int:
    raw = _value(values, oid)
    element = der.read(raw, 0, "SGX extension")
    if element.tag != _INTEGER:
        raise ParseError("SGX extension", f"{oid.hex()} isn't a number")
    return int.from_bytes(element.content_of(raw), signed=True)
