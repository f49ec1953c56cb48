"""An emulated AMD: its own ARK, ASK and ASVK, chips with VCEKs, a provider's VLEK, and reports.

Written from the specifications (56860, 57230), not with the code under test.
"""

import datetime as dt
import hashlib
import struct
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = 1_760_000_000.0
DAY = dt.timedelta(days=1)
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
SPLS = {"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219, "fmc": 2}
_SPL_OIDS = {"bootloader": 1, "tee": 2, "snp": 3, "microcode": 8, "fmc": 9}
_MODELS = {"Milan": (0x19, 0x01, 1), "Genoa": (0x19, 0x11, 1), "Turin": (0x1A, 0x02, 0)}
POLICY = 0x3001F


class Leaf(NamedTuple):
    """A VCEK or VLEK: ``certificates`` are for TeeEvidence."""

    certificates: bytes
    key: ec.EllipticCurvePrivateKey
    vlek: bool
    chip: bytes


class SnpVendor:
    """One product line's ARK with an ASK and an ASVK under it."""

    def __init__(self, line: str = "Milan") -> None:
        self.line = line
        self._keys = {
            name: rsa.generate_private_key(65537, 2048) for name in ("ark", "ask", "asvk")
        }
        self._names = {"ark": f"ARK-{line}", "ask": f"SEV-{line}", "asvk": f"SEV-VLEK-{line}"}
        self.ark = self.ca("ark")
        self.ask, self.asvk = self.ca("ask", 0), self.ca("asvk", 0)

    def ca(self, name: str, length: int | None = None, *, issues: bool = True) -> bytes:
        usage = x509.KeyUsage(
            digital_signature=not issues, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=issues,
            crl_sign=name == "ark",
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        constraints = x509.BasicConstraints(ca=True, path_length=length)
        builder = _builder(self._names[name], self._names["ark"], self._keys[name].public_key())
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(usage, critical=True)
        return _signed(builder, self._keys["ark"])

    def leaf(
        self,
        *,
        vlek: bool = False,
        spls: dict[str, int] = SPLS,
        product: str | None = None,
        wrapped: bool = False,
        curve: ec.EllipticCurve | None = None,
        serial: int = 1000,
        seed: bytes = b"chip",
    ) -> Leaf:
        size = 8 if self.line == "Turin" else 64
        chip = hashlib.sha512(seed).digest()[:size]
        issuer = "asvk" if vlek else "ask"
        key = ec.generate_private_key(curve or ec.SECP384R1())
        name = "SEV-VLEK" if vlek else "SEV-VCEK"
        builder = _builder(name, self._names[issuer], key.public_key(), serial)
        extensions = {"1": b"\2\1\1", "2": _tlv(0x16, (product or f"{self.line}-B0").encode())}
        for part, level in spls.items():
            if part != "fmc" or self.line == "Turin":
                encoded = level.to_bytes(2) if level > 127 else bytes([level])
                extensions[f"3.{_SPL_OIDS[part]}"] = _tlv(2, encoded)
        if vlek:
            extensions["5"] = _tlv(0x16, b"provider.example")
        else:
            extensions["4"] = _tlv(4, chip) if wrapped else chip
        for oid, value in extensions.items():
            extension = x509.UnrecognizedExtension(
                x509.ObjectIdentifier(f"1.3.6.1.4.1.3704.1.{oid}"), value
            )
            builder = builder.add_extension(extension, critical=False)
        der = _signed(builder, self._keys[issuer])
        return Leaf(der + (self.asvk if vlek else self.ask), key, vlek, chip)

    def revocation_list(self, issuer: str, serials: tuple[int, ...], end: dt.timedelta) -> bytes:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=_name(self._names[issuer]), last_update=now - DAY, next_update=now + end
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self._keys[issuer], hashes.SHA384(), rsa_padding=PSS)
        return signed.public_bytes(Encoding.DER)

    def report(
        self,
        leaf: Leaf,
        data: bytes,
        *,
        measurement: bytes = bytes(48),
        version: int = 3,
        spls: dict[str, int] = SPLS,
        fields: dict[int, bytes] | None = None,
    ) -> bytes:
        """A signed report; ``fields`` are bytes to put at an offset."""
        raw = bytearray(0x2A0)
        tcb = self.tcb(spls)
        struct.pack_into("<IIQ", raw, 0, version, 7, POLICY)
        struct.pack_into("<II8sQI", raw, 0x30, 0, 1, tcb, 0x3, leaf.vlek << 2)
        raw[0x50:0x90], raw[0x90:0xC0] = data, measurement
        raw[0x180:0x188] = raw[0x1E0:0x1E8] = raw[0x1F0:0x1F8] = tcb
        if version >= 3:
            raw[0x188:0x18B] = bytes(_MODELS[self.line])
        raw[0x1A0 : 0x1A0 + len(leaf.chip)] = leaf.chip
        for at, value in (fields or {}).items():
            raw[at : at + len(value)] = value
        return bytes(raw) + snp_signature(leaf.key, bytes(raw))

    def tcb(self, spls: dict[str, int] = SPLS) -> bytes:
        if self.line == "Turin":
            first = (spls[part] for part in ("fmc", "bootloader", "tee", "snp"))
            return bytes([*first, 0, 0, 0, spls["microcode"]])
        return bytes([spls["bootloader"], spls["tee"], 0, 0, 0, 0, spls["snp"], spls["microcode"]])


def snp_signature(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA384())))
    return (r.to_bytes(72, "little") + s.to_bytes(72, "little")).ljust(512, b"\0")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str, issuer: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, serial: int = 1
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    return x509.CertificateBuilder(
        subject_name=_name(subject),
        issuer_name=_name(issuer),
        public_key=key,
        serial_number=serial,
        not_valid_before=now - 10 * DAY,
        not_valid_after=now + 10 * DAY,
    )


def _signed(builder: x509.CertificateBuilder, key: rsa.RSAPrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA384(), rsa_padding=PSS).public_bytes(Encoding.DER)


def _tlv(tag: int, value: bytes) -> bytes:
    return bytes([tag, len(value)]) + value
