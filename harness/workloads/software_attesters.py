"""Attesters whose keys are in software: many of them, and as fast as their signature.

For load on a verifier, and for attackers that a TPM would not obey (a clock set back, a copied
key). The evidence is of the real form, with the software secure processor behind it.
"""

import copy
import datetime
import hashlib
import secrets
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from harness.framework import attester
from harness.framework.evidence import binding, bundle, ima_prefix
from harness.framework.evidence.bundle import ImaPrefix, LaunchClaims, TeeEvidence
from harness.framework.evidence.ima_log import parse_entry
from harness.framework.own_keys import common_name
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor
from harness.framework.verify import Policy, TeeRoot
from harness.workloads.attestation import reference_values
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log, pcrs_after
from harness.workloads.software_keys import (
    CertificateSpec,
    Key,
    new_key,
    public_area,
    signed_quote,
    sized,
)

_SHA256 = 0x000B
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
        self._root_key, self._host_key = (new_key() for _ in "ab")
        self.host_ak_name = _tpm_name(public_area(self._host_key))
        self.root = self._certified("authority", self._root_key, ca=True, path_length=1)
        self.host_serial = x509.random_serial_number()
        host = bundle.encode(binding.HostBinding("host-a", self.host_ak_name))
        self._host = self._certified(
            "host-a", self._host_key, ca=True, path_length=0,
            private=((binding.HOST_OID, host),), serial=self.host_serial,
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
        key = new_key()
        public = public_area(key)
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
        leaf = self._certified(
            instance, key, "host-a", self._host_key,
            private=((binding.LAUNCH_OID, bundle.encode(bound)),),
            uris=(binding.INSTANCE_URI_PREFIX + instance,), purposes=(binding.AIK_EKU_OID,),
        )  # fmt: skip
        proofs = {
            "ak_certificate": leaf, "issuer_chain": (self._host,), "launch": claims,
            "launch_report": TeeEvidence("csv", page, self._processor.hsk_cek),
        }  # fmt: skip
        return SoftwareAttester(self, instance, key, public, proofs)

    def _certified(
        self,
        subject: str,
        key: Key,
        issuer: str = "authority",
        signer: Key | None = None,
        **content: Any,
    ) -> bytes:
        """A certificate (DER) for ``key``, by the authority unless another one signs it."""
        spec = CertificateSpec(
            subject,
            issuer,
            key.public_key(),
            signer or self._root_key,
            start=-datetime.timedelta(hours=1),
            end=datetime.timedelta(days=_DAYS),
            **content,
        )
        return spec.der(time.time())

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
        key: Key,
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
        quote = signed_quote(self._key, attest)
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


def _tpm_name(public: bytes) -> bytes:
    return b"\0\x0b" + hashlib.sha256(public).digest()


def _attest(qualifier: bytes, pcrs: dict[int, bytes], at: Clock) -> bytes:
    """TPMS_ATTEST of a quote of the SHA-256 bank."""
    select = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(pcrs[pcr] for pcr in sorted(pcrs))).digest()
    return (
        struct.pack(">IH", 0xFF544347, 0x8018)
        + sized(b"\0\x0b" + bytes(32))
        + sized(qualifier)
        + struct.pack(">QIIBQ", *at, 1, 0x20191023)
        + struct.pack(">IHB3s", 1, _SHA256, 3, select)
        + sized(digest)
    )


def _revocation_list(key: Key, serials: tuple[int, ...]) -> bytes:
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
