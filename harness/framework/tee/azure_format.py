"""Azure's paravisor report: a hardware report and the runtime data whose hash it carries.

Layout as Azure's guest attestation documents it ("HCL report"): a header of 32 bytes, 1,184 bytes
for the hardware report, a header of 20 bytes, then JSON. Integers are little-endian.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import ParseError
from harness.framework.evidence import json_text
from harness.framework.evidence.x509_reading import MIN_RSA_BITS
from harness.framework.tee.tdx_format import TdReport

Hardware = Literal[2, 4]
SNP: Hardware = 2
TDX: Hardware = 4
_MAGIC = b"HCLA"
_VERSIONS = (1, 2)
_ATTESTATION_REQUEST = 2
_HEADER, _HARDWARE, _RUNTIME_HEADER = 32, 1184, 20
_RUNTIME = _HEADER + _HARDWARE + _RUNTIME_HEADER
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
_AK = "HCLAkPub"
_EXPONENT = 65537
_USER_DATA = 64
_TD_TYPE = b"\x81\0"


class _Jwk(msgspec.Struct, frozen=True):
    kid: str
    kty: str = ""
    n: str = ""
    e: str = ""


class VmConfiguration(msgspec.Struct, frozen=True, rename="kebab"):
    """What the paravisor says of its VM, as far as policies ask for it."""

    secure_boot: bool
    vm_id: str = msgspec.field(name="vmUniqueId", default="")


class _RuntimeData(msgspec.Struct, frozen=True, rename="kebab"):
    keys: tuple[_Jwk, ...]
    vm_configuration: VmConfiguration
    user_data: str = ""


class HclReport(NamedTuple):
    """A paravisor's report. ``hash_name`` is hashlib's name of the runtime data's hash.

    ``ak`` is the vTPM's attestation key (SubjectPublicKeyInfo, DER), ``user_data`` what the guest
    put in (64 bytes).
    """

    hardware: bytes
    hash_name: str
    runtime: bytes
    ak: bytes
    user_data: bytes
    configuration: VmConfiguration


def parse_report(raw: bytes, kind: Hardware) -> HclReport:
    """Parse a report over a hardware report of ``kind`` (:data:`SNP` or :data:`TDX`).

    Raises:
        ParseError: another form, sizes that don't agree, spare bytes that aren't zero, or runtime
            data without exactly one attestation key.
    """
    if len(raw) < _RUNTIME or raw[:4] != _MAGIC:
        raise ParseError("HCL report", f"{len(raw)} bytes that start with {raw[:4].hex()}")
    version, size, request, status = struct.unpack_from("<IIII", raw, 4)
    runtime_size, runtime_version, report_type, hash_id, json_size = struct.unpack_from(
        "<IIIII", raw, _HEADER + _HARDWARE
    )
    end = _RUNTIME + json_size
    forms = (version in _VERSIONS, request == _ATTESTATION_REQUEST, status == 0)
    if not all(forms) or runtime_version != 1 or report_type != kind or hash_id not in _HASHES:
        raise ParseError(
            "HCL report",
            f"version {version}, request {request}, status {status}, runtime data of version "
            f"{runtime_version}, report of type {report_type} with hash {hash_id}; expected "
            f"1 or 2, 2, 0, 1, {kind}, 1 to 3",
        )
    if (size, runtime_size) != (end, _RUNTIME_HEADER + json_size) or end > len(raw):
        raise ParseError("HCL report", f"sizes {size}, {runtime_size} and {json_size} don't agree")
    if any(raw[20:_HEADER]) or any(raw[end:]):
        raise ParseError("HCL report", "the spare bytes are not zero")
    runtime = raw[_RUNTIME:end]
    data = json_text.decode(runtime, _RuntimeData, "HCL runtime data")
    return HclReport(
        hardware=raw[_HEADER : _HEADER + _HARDWARE],
        hash_name=_HASHES[hash_id],
        runtime=runtime,
        ak=_attestation_key(data),
        user_data=_user_data(data.user_data),
        configuration=data.vm_configuration,
    )


def is_bound(report: HclReport, report_data: bytes) -> bool:
    """Whether a hardware report's ``report_data`` are the hash of the runtime data, then zeros."""
    digest = hashlib.new(report.hash_name, report.runtime).digest()
    return hmac.compare_digest(report_data, digest.ljust(64, b"\0"))


def is_td_report_of(hardware: bytes, td: TdReport) -> bool:
    """Whether a TDREPORT is the one that a quote with the body ``td`` was made from.

    Its CPUSVN and MAC (bytes 16 to 32 and 224 to 256) can't be checked outside its machine.
    """
    tcb_info, td_info = hardware[256:495], hardware[512:1024]
    attributes = struct.pack("<QQ", td.attributes, td.xfam)
    owner = td.mrtd + td.mr_config_id + td.mr_owner + td.mr_owner_config
    expected = {
        4: bytes(12),
        32: hashlib.sha384(tcb_info).digest() + hashlib.sha384(td_info).digest() + td.report_data,
        192: bytes(32),
        264: td.tcb_svn + td.mr_seam + td.mr_signer_seam + struct.pack("<Q", td.seam_attributes),
        495: bytes(17),
        512: attributes + owner + b"".join(td.rtmrs) + td.service_td,
        1024: bytes(_HARDWARE - 1024),
    }
    # Version 1 has a bound service TD, version 0 none.
    expected[0] = _TD_TYPE + bytes([any(td.service_td), 0])
    return all(hardware[at : at + len(part)] == part for at, part in expected.items())


def _attestation_key(data: _RuntimeData) -> bytes:
    keys = [key for key in data.keys if key.kid == _AK]
    if len(keys) != 1 or keys[0].kty != "RSA":
        raise ParseError("HCL runtime data", f"{len(keys)} keys {_AK}, expected one for RSA")
    n, e = (_base64url(number) for number in (keys[0].n, keys[0].e))
    if e != _EXPONENT or n.bit_length() < MIN_RSA_BITS:
        raise ParseError("HCL runtime data", f"RSA key of {n.bit_length()} bits, exponent {e}")
    try:
        key = rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as error:
        raise ParseError("HCL runtime data", f"not an RSA key: {error}") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _base64url(text: str) -> int:
    try:
        padded = text + "=" * (-len(text) % 4)
        return int.from_bytes(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise ParseError("HCL runtime data", "a key's number isn't base64url") from None


def _user_data(text: str) -> bytes:
    """What the guest wrote, zeros where it wrote nothing."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise ParseError("HCL runtime data", "the user data aren't hexadecimal") from None
    if len(data) > _USER_DATA:
        raise ParseError("HCL runtime data", f"{len(data)} bytes of user data, at most 64")
    return data.ljust(_USER_DATA, b"\0")
