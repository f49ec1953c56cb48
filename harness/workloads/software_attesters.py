"""Attesters whose keys are in software: many of them, and as fast as their signature.

For load on a verifier, and for attackers that a TPM would not obey (a clock set back, a copied
key). The evidence is of the real form, with the software secure processor behind it.
"""

import copy
import datetime
import hashlib
import secrets
import struct
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.framework import attester
from harness.framework.evidence import binding, bundle, ima_prefix
from harness.framework.evidence.bundle import ImaPrefix, LaunchClaims, Quote, TeeEvidence
from harness.framework.evidence.ima_log import parse_entry
from harness.framework.own_keys import common_name
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor
from harness.framework.verify import Policy, TeeRoot
from harness.workloads.attestation import reference_values
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log, pcrs_after

_SHA256, _ECDSA, _NULL, _P256 = 0x000B, 0x0018, 0x0010, 0x0003
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign
_AK_ATTRIBUTES = 0x2 | 0x10 | 0x20 | 0x40 | 0x400 | 0x10000 | 0x40000
_DAYS = 30
_IMA_PCR = 10


class Clock(NamedTuple):
    """What a TPM says of its time: ``clock`` in ms, and its counters."""

    clock: int = 1000
    resets: int = 1
    restarts: int = 0


_START = Clock()


class SoftwareFleet:
    """One authority, one host and its secure processor; the logs are the same for all attesters."""

    def __init__(self, directory: Path, ima_entries: int, seed: int = 1) -> None:
        """``directory`` is for the processor's files, and must not hold one yet."""
        self.boot: BootLog = boot_event_log(seed)
        self.ima: ImaLog = ima_log(ima_entries, seed)
        self.entries = ima_entries
        self._processor: SoftwareProcessor = SoftwareVendor().provision(directory)
        self._service = self._processor.launch({"service": b"vtpm service"})
        self._root_key, self._host_key = (ec.generate_private_key(ec.SECP256R1()) for _ in "ab")
        self.host_ak_name = _tpm_name(_public_area(self._host_key))
        self.root = _certificate("authority", "authority", self._root_key, self._root_key, 1)
        self.host_serial = x509.random_serial_number()
        host = bundle.encode(binding.HostBinding("host-a", self.host_ak_name))
        self._host = _certificate(
            "host-a", "authority", self._host_key, self._root_key, 0,
            private=(binding.HOST_OID, host), serial=self.host_serial,
        )  # fmt: skip

    def policy(self, revoked: tuple[int, ...] = ()) -> Policy:
        """What accepts these attesters; ``revoked`` serials are on the authority's list."""
        measured = reference_values(self.boot, self.ima)
        return Policy(
            scheme="chain",
            authority_roots=(self.root,),
            crls=(_revocation_list(self._root_key, revoked),),
            tee_roots=(TeeRoot("software", "csv", "emulated", self._processor.hrk),),
            accept_emulated=True,
            accepted_measurements=(self._service.measurement,),
            boot=measured.boot,
            ima=measured.ima,
        )

    def attester(self, instance: str) -> "SoftwareAttester":
        """A new key for ``instance``, with its launch report and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = _public_area(key)
        claims = LaunchClaims(
            instance=instance,
            ak_name=_tpm_name(public),
            ek_name=b"\0\x0b" + bytes(32),
            channel_key_sha256=bytes(32),
            host_ak_name=self.host_ak_name,
            nonce=secrets.token_bytes(16),
        )
        page = self._service.report(binding.launch_report_data(claims), secrets.token_bytes(16))
        bound = binding.launch_binding(claims, page, self._service.measurement)
        leaf = _certificate(
            instance, "host-a", key, self._host_key, None,
            private=(binding.LAUNCH_OID, bundle.encode(bound)),
            uri=binding.INSTANCE_URI_PREFIX + instance,
        )  # fmt: skip
        proofs = {
            "ak_certificate": leaf, "issuer_chain": (self._host,), "launch": claims,
            "launch_report": TeeEvidence("csv", page, self._processor.hsk_cek),
        }  # fmt: skip
        return SoftwareAttester(self, instance, key, public, proofs)

    def forked(self, attester: "SoftwareAttester", entries: int) -> "SoftwareAttester":
        """A copy of ``attester``; after ``entries`` it measured the files in another order."""
        fork = copy.copy(self)
        log, parts, at = self.ima.binary, [], 0
        while at < len(log):
            _, end = parse_entry(log, at)
            parts.append(log[at:end])
            at = end
        order = [*range(entries), *reversed(range(entries, self.entries))]
        hashes = tuple(self.ima.template_hashes_sha256[number] for number in order)
        fork.ima = ImaLog(b"".join(parts[number] for number in order), hashes, self.ima.allowed)
        return attester.on(fork)


class SoftwareAttester:
    """One instance. Nothing stops it from telling any clock, and any part of the log."""

    def __init__(
        self,
        fleet: SoftwareFleet,
        instance: str,
        key: ec.EllipticCurvePrivateKey,
        public: bytes,
        proofs: dict[str, object],
    ) -> None:
        self.instance = instance
        self.ak_name = _tpm_name(public)
        self._key, self._public, self._proofs = key, public, proofs
        self._fleet = fleet
        self._firmware = {p: v for p, v in pcrs_after(fleet.boot.extends).items() if p < _IMA_PCR}
        self._pcrs: dict[int, dict[int, bytes]] = {}
        self._cut: tuple[ImaPrefix | None, tuple[bytes, ImaPrefix | None]] | None = None

    def on(self, fleet: SoftwareFleet) -> "SoftwareAttester":
        """The same key, with the logs of ``fleet``."""
        return SoftwareAttester(fleet, self.instance, self._key, self._public, self._proofs)

    def evidence(
        self,
        nonce: bytes,
        at: Clock = _START,
        entries: int | None = None,
        prefix: ImaPrefix | None = None,
    ) -> bytes:
        """Evidence in wire form; the quote covers the first ``entries`` of the IMA log (all).

        Of the log, ``prefix`` is left out.
        """
        pcrs = self._quoted(self._fleet.entries if entries is None else entries)
        attest = _attest(binding.quote_qualifier(nonce), pcrs, at)
        quote = Quote(attest, _signature(self._key, attest))
        if self._cut is None or self._cut[0] != prefix:
            self._cut = prefix, ima_prefix.cut(self._fleet.ima.binary, prefix)
        ima_log, prefix = self._cut[1]
        logs = (self._fleet.boot.log, ima_log)
        proofs = {**self._proofs, "ima_prefix": prefix}
        return attester.assemble(nonce, self._public, quote, pcrs, logs, proofs)

    def _quoted(self, entries: int) -> dict[int, bytes]:
        if entries not in self._pcrs:
            value = bytes(32)
            for extended in self._fleet.ima.template_hashes_sha256[:entries]:
                value = hashlib.sha256(value + extended).digest()
            self._pcrs[entries] = {**self._firmware, _IMA_PCR: value}
        return self._pcrs[entries]


def _public_area(key: ec.EllipticCurvePrivateKey) -> bytes:
    """TPMT_PUBLIC of a restricted P-256 key."""
    point = key.public_key().public_numbers()
    head = struct.pack(">HHIH", 0x0023, _SHA256, _AK_ATTRIBUTES, 0)
    parameters = struct.pack(">HHHHH", _NULL, _ECDSA, _SHA256, _P256, _NULL)
    return head + parameters + _sized(point.x.to_bytes(32)) + _sized(point.y.to_bytes(32))


def _tpm_name(public: bytes) -> bytes:
    return b"\0\x0b" + hashlib.sha256(public).digest()


def _attest(qualifier: bytes, pcrs: dict[int, bytes], at: Clock) -> bytes:
    """TPMS_ATTEST of a quote of the SHA-256 bank."""
    select = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(pcrs[pcr] for pcr in sorted(pcrs))).digest()
    return (
        struct.pack(">IH", 0xFF544347, 0x8018)
        + _sized(b"\0\x0b" + bytes(32))
        + _sized(qualifier)
        + struct.pack(">QIIBQ", *at, 1, 0x20191023)
        + struct.pack(">IHB3s", 1, _SHA256, 3, select)
        + _sized(digest)
    )


def _signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """TPMT_SIGNATURE: ECDSA with SHA-256."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    head = struct.pack(">HH", _ECDSA, _SHA256)
    return head + _sized(r.to_bytes(32)) + _sized(s.to_bytes(32))


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    path_length: int | None,
    private: tuple[str, bytes] | None = None,
    uri: str | None = None,
    serial: int = 0,
) -> bytes:
    """A certificate (DER); one without ``path_length`` is an attestation key's."""
    now, issues = datetime.datetime.now(datetime.UTC), path_length is not None
    usage = x509.KeyUsage(
        digital_signature=not issues, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=issues, crl_sign=issues,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name(subject))
        .issuer_name(common_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=issues, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )
    if uri is not None:
        aik = x509.ExtendedKeyUsage([x509.ObjectIdentifier(binding.AIK_EKU_OID)])
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(aik, critical=False).add_extension(names, critical=False)
    if private is not None:
        oid, value = private
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _revocation_list(key: ec.EllipticCurvePrivateKey, serials: tuple[int, ...]) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=common_name("authority"),
        last_update=now - datetime.timedelta(hours=1),
        next_update=now + datetime.timedelta(days=_DAYS),
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
