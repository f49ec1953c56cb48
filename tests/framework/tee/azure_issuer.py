"""An emulated Azure paravisor over the emulated AMD or Intel."""

import base64
import hashlib
import json
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from harness.framework.evidence.bundle import TeeEvidence

from .snp_issuer import Leaf, SnpVendor
from .tdx_issuer import TdxVendor

VM_ID = "911B0EF8-9DBA-48B0-B275-4E4DF2D39252"
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}


def runtime_data(
    key: rsa.RSAPrivateKey, user_data: bytes = bytes(64), changes: dict[str, Any] | None = None
) -> bytes:
    number = key.public_key().public_numbers().n.to_bytes(key.key_size // 8)
    jwk = {
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": "AQAB",
        "n": base64.urlsafe_b64encode(number).rstrip(b"=").decode(),
    }
    configuration = {
        "console-enabled": True,
        "secure-boot": True,
        "tpm-enabled": True,
        "vmUniqueId": VM_ID,
    }
    data = {"keys": [jwk], "vm-configuration": configuration, "user-data": user_data.hex()}
    return json.dumps(data | (changes or {}), separators=(",", ":")).encode()


def hcl_report(
    hardware: bytes,
    runtime: bytes,
    kind: int,
    hash_id: int = 1,
    header: dict[int, int] | None = None,
) -> bytes:
    """``header`` are words to put at an offset."""
    size = 32 + 1184 + 20 + len(runtime)
    raw = bytearray(struct.pack("<4sIIII12x", b"HCLA", 2, size, 2, 0) + hardware.ljust(1184, b"\0"))
    raw += struct.pack("<IIIII", 20 + len(runtime), 1, kind, hash_id, len(runtime)) + runtime
    raw = raw.ljust(2600, b"\0")
    for at, value in (header or {}).items():
        struct.pack_into("<I", raw, at, value)
    return bytes(raw)


def bound_data(runtime: bytes, hash_id: int = 1) -> bytes:
    return hashlib.new(_HASHES[hash_id], runtime).digest().ljust(64, b"\0")


def td_report(quote: bytes) -> bytes:
    """The TDREPORT that a version 4 quote would have been made from."""
    body = quote[48:632]
    tcb = b"\xff\1\3\0\0\0\0\0" + body[:120] + bytes(111)
    info = body[120:520] + bytes(112)
    mac = b"\x81" + bytes(31) + hashlib.sha384(tcb).digest() + hashlib.sha384(info).digest()
    return mac + body[520:584] + bytes(64) + tcb + bytes(17) + info


def snp_evidence(
    amd: SnpVendor,
    leaf: Leaf,
    runtime: bytes,
    *,
    hash_id: int = 1,
    measurement: bytes = bytes(48),
    header: dict[int, int] | None = None,
) -> TeeEvidence:
    data = bound_data(runtime, hash_id)
    hardware = amd.report(leaf, data, measurement=measurement)
    report = hcl_report(hardware, runtime, 2, hash_id, header)
    return TeeEvidence("az-snp-vtpm", report, leaf.certificates)


def tdx_evidence(
    intel: TdxVendor, runtime: bytes, *, measurement: bytes = bytes(48)
) -> TeeEvidence:
    quote = intel.quote(bound_data(runtime), mrtd=measurement)
    return TeeEvidence("az-tdx-vtpm", hcl_report(td_report(quote), runtime, 4), quote)
