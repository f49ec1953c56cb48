"""An emulated Intel: root, PCK authority, platforms with a quoting enclave, and signed collateral.

Written from Intel's specifications (DCAP quoting API, PCK certificate profile, PCS version 4), not
with the code under test.
"""

import copy
import datetime as dt
import hashlib
import json
import struct
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = 1_760_000_000.0
DAY = dt.timedelta(days=1)
FMSPC, PCE_ID, PPID = bytes.fromhex("00906ED50000"), b"\0\0", bytes(range(16))
PCE_SVN, CPU_SVNS = 11, (5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0)
TCB_SVN = bytes([3, 1, 6]) + bytes(13)
# Intel's, as the real quotes and its published enclave identity have it.
MR_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
QE_SVN = 8
_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")


class TdxVendor:
    """Intel with one platform. ``root`` and ``signer`` are DER."""

    def __init__(self) -> None:
        names = ("root", "authority", "pck", "signer")
        self._keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in names}
        self._attestation_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.certificate("root", "root", "Intel SGX Root CA", ca=1)
        self.authority = self.certificate("authority", "root", "Intel SGX PCK Platform CA", ca=0)
        self.pck = self.certificate("pck", "authority", "Intel SGX PCK Certificate", sgx=sgx())
        self.signer = self.certificate("signer", "root", "Intel SGX TCB Signing")

    def certificate(
        self,
        key: str,
        issuer: str,
        name: str,
        *,
        ca: int | None = None,
        sgx: bytes | None = None,
        end: dt.timedelta = 30 * DAY,
        serial: int | None = None,
    ) -> bytes:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = x509.CertificateBuilder(
            subject_name=_name(name),
            issuer_name=_name(_NAMES[issuer]),
            public_key=self._keys[key].public_key(),
            serial_number=serial or {"root": 1, "authority": 2, "pck": 3, "signer": 4}[key],
            not_valid_before=now - 30 * DAY,
            not_valid_after=now + end,
        )
        usage = x509.KeyUsage(
            digital_signature=ca is None, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=ca is not None,
            crl_sign=ca is not None, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        constraints = x509.BasicConstraints(ca=ca is not None, path_length=ca)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(constraints, critical=True)
        if sgx is not None:
            oid = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, sgx), critical=False)
        return builder.sign(self._keys[issuer], hashes.SHA256()).public_bytes(Encoding.DER)

    def revocation_list(
        self, issuer: str, serials: tuple[int, ...] = (), end: dt.timedelta = DAY
    ) -> bytes:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=_name(_NAMES[issuer]), last_update=now - DAY, next_update=now + end
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._keys[issuer], hashes.SHA256()).public_bytes(Encoding.DER)

    def quote(
        self,
        data: bytes,
        *,
        mrtd: bytes = bytes(48),
        version: int = 4,
        td15: bool = False,
        extended: bool = False,
        fields: dict[int, bytes] | None = None,
        chain: tuple[bytes, ...] | None = None,
        qe_fields: dict[int, bytes] | None = None,
    ) -> bytes:
        """A signed quote; ``fields`` and ``qe_fields`` are bytes to put at an offset."""
        body = bytearray(885 if extended else 648 if td15 else 584)
        body[:16], body[136:184], body[520:584] = TCB_SVN, mrtd, data
        for at, value in (fields or {}).items():
            body[at : at + len(value)] = value
        header = struct.pack("<HHIHH16s20s", version, 2, 0x81, 0, 0, _VENDOR, bytes(20))
        signed = header + bytes(body)
        if version == 5:
            signed = (
                header
                + struct.pack("<HI", 4 if extended else 3 if td15 else 2, len(body))
                + bytes(body)
            )
        key, auth = _point(self._attestation_key), bytes(range(32))
        qe = bytearray(384)
        qe[48:64], qe[128:160] = b"\x11" + bytes(15), MR_SIGNER
        struct.pack_into("<HH", qe, 256, 2, QE_SVN)
        qe[320:352] = hashlib.sha256(key + auth).digest()
        for at, value in (qe_fields or {}).items():
            qe[at : at + len(value)] = value
        pem = pem_chain(chain or (self.pck, self.authority, self.root)) + b"\0"
        certification = bytes(qe) + raw_signature(self._keys["pck"], bytes(qe))
        certification += struct.pack("<H", len(auth)) + auth + struct.pack("<HI", 5, len(pem)) + pem
        data = raw_signature(self._attestation_key, signed) + key
        data += struct.pack("<HI", 6, len(certification)) + certification
        return signed + struct.pack("<I", len(data)) + data

    def signed_json(self, name: str, value: dict[str, Any], signer: str = "signer") -> bytes:
        body = json.dumps(value, separators=(",", ":")).encode()
        signature = raw_signature(self._keys[signer], body).hex().encode()
        return b'{"' + name.encode() + b'":' + body + b',"signature":"' + signature + b'"}'


_NAMES = {"root": "Intel SGX Root CA", "authority": "Intel SGX PCK Platform CA"}


def _date(days: int) -> str:
    return dt.datetime.fromtimestamp(NOW + 86400 * days, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_MODULE = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}


def _level(status: str, pcesvn: int, microcode: int) -> dict[str, Any]:
    sgx_svns, tdx_svns = list(CPU_SVNS), [0, 0, microcode] + [0] * 13
    return {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn, "category": "BIOS"} for svn in sgx_svns],
            "tdxtcbcomponents": [{"svn": svn} for svn in tdx_svns],
            "pcesvn": pcesvn,
        },
        "tcbDate": "2024-03-13T00:00:00Z",
        "tcbStatus": status,
    }


def _isv_level(svn: int, status: str) -> dict[str, Any]:
    return {"tcb": {"isvsvn": svn}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status}


_TCB_INFO: dict[str, Any] = {
    "id": "TDX",
    "version": 3,
    "issueDate": _date(-1),
    "nextUpdate": _date(20),
    "fmspc": FMSPC.hex().upper(),
    "pceId": "0000",
    "tcbType": 0,
    "tcbEvaluationDataNumber": 17,
    "tdxModule": _MODULE,
    "tdxModuleIdentities": [
        {"id": "TDX_01", **_MODULE, "tcbLevels": [_isv_level(3, "UpToDate"),
                                                  _isv_level(2, "OutOfDate")]},
    ],
    "tcbLevels": [_level("UpToDate", 11, 6), _level("ConfigurationNeeded", 10, 5)],
}  # fmt: skip
_IDENTITY: dict[str, Any] = {
    "id": "TD_QE",
    "version": 2,
    "issueDate": _date(-1),
    "nextUpdate": _date(20),
    "tcbEvaluationDataNumber": 17,
    "miscselect": "00000000",
    "miscselectMask": "FFFFFFFF",
    "attributes": "11" + "00" * 15,
    "attributesMask": "FBFFFFFFFFFFFFFF" + "00" * 8,
    "mrsigner": MR_SIGNER.hex().upper(),
    "isvprodid": 2,
    "tcbLevels": [_isv_level(8, "UpToDate"), _isv_level(5, "OutOfDate"), _isv_level(1, "Revoked")],
}


def tcb_info(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(_TCB_INFO) | changes


def identity(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(_IDENTITY) | changes


def sgx(fmspc: bytes = FMSPC, pce_svn: int = PCE_SVN, svns: tuple[int, ...] = CPU_SVNS) -> bytes:
    """The SGX extension of a PCK certificate."""
    parts = [_pair(bytes([2, n]), _tlv(2, bytes([svn]))) for n, svn in enumerate(svns, 1)]
    parts.append(_pair(b"\2\x11", _tlv(2, bytes([pce_svn]))))
    parts.append(_pair(b"\2\x12", _tlv(4, bytes(svns))))
    values = (
        _pair(b"\1", _tlv(4, PPID)),
        _pair(b"\2", _tlv(0x30, b"".join(parts))),
        _pair(b"\3", _tlv(4, PCE_ID)),
        _pair(b"\4", _tlv(4, fmspc)),
        _pair(b"\5", b"\x0a\1\1"),
    )
    return _tlv(0x30, b"".join(values))


def pem_chain(ders: tuple[bytes, ...]) -> bytes:
    certificates = (x509.load_der_x509_certificate(der) for der in ders)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pair(suffix: bytes, value: bytes) -> bytes:
    return _tlv(0x30, _tlv(6, bytes.fromhex("2a864886f84d010d01") + suffix) + value)


def _tlv(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes([tag, len(value)]) + value
    if len(value) < 0x100:
        return bytes([tag, 0x81, len(value)]) + value
    return bytes([tag, 0x82]) + len(value).to_bytes(2) + value
