"""A whole deployment from software keys: authority, host TPM key, vTPM key, processor, logs.

Everything is built here from the specifications, not with the code under test, except for the
bindings and the envelope.
"""

import datetime as dt
import hashlib
import struct

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import (
    Evidence,
    LaunchClaims,
    Quote,
    TeeEvidence,
    encode_evidence,
)
from harness.framework.tee.csv_processor import SoftwareProcessor
from harness.framework.verify import AttestationResult, Challenge, Policy, TeeRoot, verify
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log, pcrs_after

NOW = 1_760_000_000.0
DAY = dt.timedelta(days=1)
SHA256, ECDSA, RSASSA, RSAPSS, NULL = 0x000B, 0x0018, 0x0014, 0x0016, 0x0010
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign
AK_ATTRIBUTES = 0x2 | 0x10 | 0x20 | 0x40 | 0x400 | 0x10000 | 0x40000
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SERVICE = {"service": b"vtpm service"}
GUEST = {"guest": b"kernel and init"}


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def public_area(
    key: PrivateKey, attributes: int = AK_ATTRIBUTES, scheme: int | None = None
) -> bytes:
    """TPMT_PUBLIC of a signing key."""
    head = struct.pack(">HIH", SHA256, attributes, 0)
    if isinstance(key, rsa.RSAPrivateKey):
        modulus = key.public_key().public_numbers().n
        parameters = struct.pack(">HHHHI", NULL, scheme or RSASSA, SHA256, key.key_size, 0)
        return b"\0\1" + head + parameters + sized(modulus.to_bytes(key.key_size // 8))
    point = key.public_key().public_numbers()
    parameters = struct.pack(">HHHHH", NULL, scheme or ECDSA, SHA256, 3, NULL)
    return b"\0\x23" + head + parameters + sized(point.x.to_bytes(32)) + sized(point.y.to_bytes(32))


def name_of(public: bytes) -> bytes:
    return b"\0\x0b" + hashlib.sha256(public).digest()


def tpm_signature(key: PrivateKey, message: bytes, scheme: int | None = None) -> bytes:
    """TPMT_SIGNATURE with SHA-256."""
    if isinstance(key, rsa.RSAPrivateKey):
        pad: padding.PKCS1v15 | padding.PSS = padding.PKCS1v15()
        if scheme == RSAPSS:
            pad = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        value = key.sign(message, pad, hashes.SHA256())
        return struct.pack(">HH", scheme or RSASSA, SHA256) + sized(value)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return struct.pack(">HH", ECDSA, SHA256) + sized(r.to_bytes(32)) + sized(s.to_bytes(32))


def attest(
    extra_data: bytes,
    pcrs: dict[int, bytes],
    *,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    bank: int = SHA256,
    clock: tuple[int, int, int] = (5000, 1, 0),
) -> bytes:
    """TPMS_ATTEST of a quote; ``clock`` is clock, resetCount, restartCount."""
    select = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(pcrs[pcr] for pcr in sorted(pcrs))).digest()
    return (
        struct.pack(">IH", magic, kind)
        + sized(b"\0\x0b" + bytes(32))
        + sized(extra_data)
        + struct.pack(">QIIBQ", *clock, 1, 0x20191023)
        + struct.pack(">IHB3s", 1, bank, 3, select)
        + sized(digest)
    )


class CertificateSpec(msgspec.Struct, frozen=True):
    """What a certificate is to say; the defaults make a good one."""

    subject: str
    issuer: str
    key: PrivateKey
    signer: PrivateKey
    ca: bool = False
    path_length: int | None = None
    uris: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    private: tuple[tuple[str, bytes], ...] = ()
    critical_private: bool = False
    basic_constraints: bool = True
    key_usage: bool = True
    start: dt.timedelta = -DAY
    end: dt.timedelta = 365 * DAY
    serial: int = msgspec.field(default_factory=x509.random_serial_number)

    def der(self) -> bytes:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = x509.CertificateBuilder(
            subject_name=x509_name(self.subject),
            issuer_name=x509_name(self.issuer),
            public_key=self.key.public_key(),
            serial_number=self.serial,
            not_valid_before=now + self.start,
            not_valid_after=now + self.end,
        )
        if self.basic_constraints:
            constraints = x509.BasicConstraints(ca=self.ca, path_length=self.path_length)
            builder = builder.add_extension(constraints, critical=True)
        if self.key_usage:
            builder = builder.add_extension(key_usage(ca=self.ca), critical=True)
        if self.purposes:
            oids = [x509.ObjectIdentifier(oid) for oid in self.purposes]
            builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        if self.uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in self.uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for oid, value in self.private:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=self.critical_private)
        return builder.sign(self.signer, hashes.SHA256()).public_bytes(Encoding.DER)


def x509_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def revocation_list(
    signer: PrivateKey, serials: tuple[int, ...] = (), *, issuer: str = "authority",
    end: dt.timedelta = DAY,
) -> bytes:  # fmt: skip
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509_name(issuer), last_update=now - 2 * DAY, next_update=now + end
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


class World:
    """Makes evidence that is accepted; tests change one thing and expect one failure."""

    def __init__(
        self,
        processor: SoftwareProcessor,
        *,
        rsa_ak: bool = False,
        logs: tuple[BootLog, ImaLog] | None = None,
    ) -> None:
        self.processor = processor
        self.root_key, self.host_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.ak: PrivateKey = (
            rsa.generate_private_key(65537, 2048)
            if rsa_ak
            else ec.generate_private_key(ec.SECP256R1())
        )
        self.nonce = bytes(range(32))
        self.boot, self.ima = logs or (boot_event_log(7), ima_log(50, 7))
        self.pcrs = {pcr: v for pcr, v in pcrs_after(self.boot.extends).items() if pcr < 10}
        self.pcrs[10] = bytes(32)
        for template_hash in self.ima.template_hashes_sha256:
            self.pcrs[10] = hashlib.sha256(self.pcrs[10] + template_hash).digest()
        self.guest = processor.launch(SERVICE)
        self.pod = processor.launch(GUEST)
        self.public = public_area(self.ak)
        self.claims = LaunchClaims(
            instance="pod-1",
            ak_name=name_of(self.public),
            ek_name=b"\0\x0b" + bytes(32),
            channel_key_sha256=bytes(32),
            host_ak_name=name_of(public_area(self.host_key)),
            nonce=bytes(16),
        )
        self.page = self.report(binding.launch_report_data(self.claims))
        self.root_spec = CertificateSpec(
            "authority", "authority", self.root_key, self.root_key, ca=True, path_length=1
        )
        self.root = self.root_spec.der()
        self.crl = revocation_list(self.root_key)

    def report(self, data: bytes) -> bytes:
        return self.guest.report(data, bytes(16))

    def fresh_data(
        self,
        quote: Quote,
        nonce: bytes | None = None,
        boot: bytes | None = None,
        ima: bytes | None = None,
    ) -> bytes:
        """Report data of the pod's own report about ``quote`` and the world's logs."""
        logs = (boot or self.boot.log, ima or self.ima.binary)
        digests = (hashlib.sha256(log).digest() for log in logs)
        return binding.fresh_report_data(nonce or self.nonce, quote.attest, *digests)

    def tee(self, page: bytes) -> TeeEvidence:
        return TeeEvidence("csv", page, self.processor.hsk_cek)

    def host_spec(self) -> CertificateSpec:
        host = bundle.encode(binding.HostBinding("host-a", self.claims.host_ak_name))
        return CertificateSpec(
            "host-a", "authority", self.host_key, self.root_key, ca=True, path_length=0,
            private=((binding.HOST_OID, host),),
        )  # fmt: skip

    def leaf_spec(self) -> CertificateSpec:
        bound = binding.launch_binding(self.claims, self.page, self.guest.measurement)
        return CertificateSpec(
            "pod-1", "host-a", self.ak, self.host_key,
            uris=("urn:attestbench:vtpm:pod-1",),
            purposes=("2.23.133.8.3",),
            private=((binding.LAUNCH_OID, bundle.encode(bound)),),
        )  # fmt: skip

    def attest(self) -> bytes:
        return attest(binding.quote_qualifier(self.nonce), self.pcrs)

    def quote(self, body: bytes | None = None, signer: PrivateKey | None = None) -> Quote:
        body = self.attest() if body is None else body
        return Quote(body, tpm_signature(signer or self.ak, body))

    def with_deep_quote(
        self, qualifier: bytes | None = None, signer: PrivateKey | None = None, kind: int = 0x8018
    ) -> Evidence:
        quote = self.quote()
        extra = qualifier or binding.deep_quote_qualifier(self.nonce, quote.attest)
        deep = self.quote(attest(extra, {0: bytes(32)}, kind=kind), signer or self.host_key)
        return self.evidence(quote=quote, deep_quote=deep)

    def evidence(self, **changes: object) -> Evidence:
        base = Evidence(
            version=1,
            nonce=self.nonce,
            ak_public=self.public,
            quote=self.quote(),
            pcr_values=self.pcrs,
            boot_log=self.boot.log,
            ima_log=self.ima.binary,
            ak_certificate=self.leaf_spec().der(),
            issuer_chain=(self.host_spec().der(),),
            launch=self.claims,
            launch_report=self.tee(self.page),
        )
        return msgspec.structs.replace(base, **changes)

    def with_leaf(self, **changes: object) -> Evidence:
        return self.evidence(
            ak_certificate=msgspec.structs.replace(self.leaf_spec(), **changes).der()
        )

    def with_host(self, **changes: object) -> Evidence:
        return self.evidence(
            issuer_chain=(msgspec.structs.replace(self.host_spec(), **changes).der(),)
        )

    def policy(self, **changes: object) -> Policy:
        allowed: dict[int, tuple[bytes, ...]] = {}
        for pcr, digest in self.boot.extends:
            allowed[pcr] = (*allowed.get(pcr, ()), digest)
        base = Policy(
            scheme="chain",
            authority_roots=(self.root,),
            crls=(self.crl,),
            tee_roots=(TeeRoot("lab", "csv", "emulated", self.processor.hrk),),
            accept_emulated=True,
            accepted_measurements=(self.guest.measurement,),
            pod_measurements=(self.pod.measurement,),
            boot=allowed,
            ima=self.ima.allowed,
        )
        return msgspec.structs.replace(base, **changes)

    def challenge(self, **changes: object) -> Challenge:
        base = Challenge(self.nonce, NOW - 1, NOW + 30)
        return msgspec.structs.replace(base, **changes)


def judge(
    world: World,
    evidence: Evidence | None = None,
    policy: Policy | None = None,
    challenge: Challenge | None = None,
    now_s: float = NOW,
) -> AttestationResult:
    """Verify ``world``'s good evidence, or what is given instead of a part of it."""
    wire = encode_evidence(world.evidence() if evidence is None else evidence)
    return verify(wire, policy or world.policy(), challenge or world.challenge(), now_s)


def ids(result: AttestationResult) -> set[str]:
    """The failure ids; a result is accepted exactly when there is none."""
    assert result.accepted == (not result.failures)
    return {failure.id for failure in result.failures}


def other_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
