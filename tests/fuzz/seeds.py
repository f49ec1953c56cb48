"""Well-formed inputs to start from; the same in every run."""

import base64
import datetime as dt
import hashlib
import json
import ssl
import struct
from functools import cache
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from harness.framework import tee
from harness.framework.evidence import binding, bundle, confirmation
from harness.framework.evidence.bundle import Evidence, LaunchClaims, Quote, TeeEvidence
from harness.framework.verify import Challenge, ContainerRules, Policy, TeeRoot, encode_policy
from harness.framework.verify.ear import PROFILE, sign_ear
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log, pcrs_after

DATA = Path(__file__).parents[1] / "data"
NOW_S = 1_760_000_000.0
NONCE = bytes(range(32))
_KEY = ec.derive_private_key(0xA77E57, ec.SECP256R1())
_NAME = b"\0\x0b" + bytes(32)


def sized(data: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(data)) + data


@cache
def boot() -> BootLog:
    """A short boot: the events of a real one, without their long descriptions."""
    return boot_event_log(3)


@cache
def ima() -> ImaLog:
    """Boot aggregate and seven files."""
    return ima_log(8, 3)


@cache
def pcr_values() -> dict[int, bytes]:
    """PCRs 0-10 that both logs lead to."""
    values = {pcr: value for pcr, value in pcrs_after(boot().extends).items() if pcr < 10}
    values[10] = bytes(32)
    for extended in ima().template_hashes_sha256:
        values[10] = hashlib.sha256(values[10] + extended).digest()
    return values


@cache
def public_area() -> bytes:
    """TPMT_PUBLIC of a P-256 attestation key."""
    point = _KEY.public_key().public_numbers()
    head = struct.pack(">HHIHHHHHH", 0x23, 0x0B, 0x50472, 0, 0x10, 0x18, 0x0B, 3, 0x10)
    return head + sized(point.x.to_bytes(32)) + sized(point.y.to_bytes(32))


def rsa_public_area() -> bytes:
    """TPMT_PUBLIC of an RSA key (whose factors nobody knows)."""
    modulus = b"\xc1" + hashlib.shake_256(b"modulus").digest(254) + b"\1"
    head = struct.pack(">HHIHHHHHI", 1, 0x0B, 0x50472, 0, 0x10, 0x14, 0x0B, 2048, 0)
    return head + sized(modulus)


@cache
def attest() -> bytes:
    """TPMS_ATTEST of a quote of PCRs 0-10."""
    values = pcr_values()
    digest = hashlib.sha256(b"".join(values[pcr] for pcr in sorted(values))).digest()
    select = sum(1 << pcr for pcr in values).to_bytes(3, "little")
    return (
        struct.pack(">IH", 0xFF544347, 0x8018) + sized(_NAME)
        + sized(binding.quote_qualifier(NONCE)) + struct.pack(">QIIBQ", 5000, 1, 0, 1, 7)
        + struct.pack(">IHB3s", 1, 0x0B, 3, select) + sized(digest)
    )  # fmt: skip


def signature(message: bytes) -> bytes:
    """TPMT_SIGNATURE (ECDSA)."""
    r, s = decode_dss_signature(_KEY.sign(message, _ecdsa()))
    return struct.pack(">HH", 0x18, 0x0B) + sized(r.to_bytes(32)) + sized(s.to_bytes(32))


def rsa_signature() -> bytes:
    """TPMT_SIGNATURE (RSASSA) of nothing."""
    return struct.pack(">HH", 0x14, 0x0B) + sized(b"\x5a" * 256)


def _ecdsa() -> ec.ECDSA:
    return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


@cache
def certificate(*, ca: bool = False) -> bytes:
    """A self-signed certificate with our extensions, as a leaf or as an issuer."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    start = dt.datetime.fromtimestamp(NOW_S - 3600, dt.UTC)
    bound = binding.launch_binding(claims(), b"report", bytes(32))
    host = binding.HostBinding("host", _NAME)
    private = ((binding.LAUNCH_OID, bound), (binding.HOST_OID, host))
    builder = x509.CertificateBuilder(
        name, name, _KEY.public_key(), 7, start, start + dt.timedelta(days=365)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True)
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    builder = builder.add_extension(usage, critical=True)
    purposes = [x509.ObjectIdentifier(binding.AIK_EKU_OID)]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = [x509.UniformResourceIdentifier(binding.INSTANCE_URI_PREFIX + "pod")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for oid, value in private:
        raw = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bundle.encode(value))
        builder = builder.add_extension(raw, critical=False)
    made = builder.sign(_KEY, hashes.SHA256(), ecdsa_deterministic=True)
    return made.public_bytes(Encoding.DER)


@cache
def revocation_list() -> bytes:
    """A list of one revoked certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    start = dt.datetime.fromtimestamp(NOW_S - 3600, dt.UTC)
    builder = x509.CertificateRevocationListBuilder(name, start, start + dt.timedelta(days=9))
    revoked = x509.RevokedCertificateBuilder(9, start).build()
    made = builder.add_revoked_certificate(revoked).sign(
        _KEY, hashes.SHA256(), ecdsa_deterministic=True
    )
    return made.public_bytes(Encoding.DER)


def claims() -> LaunchClaims:
    """Claims of a launch."""
    return LaunchClaims("pod", _NAME, _NAME, bytes(32), _NAME, bytes(16))


def _file(folder: str, name: str) -> bytes:
    return (DATA / folder / name).read_bytes()


def boot_logs() -> tuple[bytes, ...]:
    """A generated log and a real CC event log, with some of what pads it."""
    return boot().log, _file("boot", "CCEL_data_ovmf").rstrip(b"\xff") + b"\xff" * 16


@cache
def tee_evidence() -> tuple[TeeEvidence, ...]:
    """Real reports with their certificates, one for each kind."""
    pem = _file("azure", "snp-vcek.pem").decode().split("-----BEGIN")[1:]
    chain = b"".join(ssl.PEM_cert_to_DER_cert(f"-----BEGIN{part}") for part in pem)
    return (
        # That file leaves out the zeros at the end of the page.
        TeeEvidence(
            "csv",
            _file("csv", "csvrs-report.cert").ljust(4096, b"\0"),
            _file("csv", "csvrs-hsk_cek.cert"),
        ),
        TeeEvidence("snp", _file("snp", "test-report.bin"), _file("snp", "test-vcek.der")),
        TeeEvidence("tdx", _file("tdx", "tdx_quote_4.dat"), b""),
        TeeEvidence("az-snp-vtpm", _file("azure", "snp-hcl-report.bin"), chain),
        TeeEvidence(
            "az-tdx-vtpm", _file("azure", "tdx-hcl-report.bin"), _file("azure", "tdx-quote.bin")
        ),
    )


@cache
def evidence() -> Evidence:
    """Evidence with every part; its quote and logs are accepted under an allow-list."""
    launch_report, fresh_report = tee_evidence()[:2]
    return Evidence(
        version=1,
        nonce=NONCE,
        ak_public=public_area(),
        quote=Quote(attest(), signature(attest())),
        pcr_values=pcr_values(),
        boot_log=boot().log,
        ima_log=ima().binary,
        ak_certificate=certificate(),
        issuer_chain=(certificate(ca=True),),
        launch=claims(),
        launch_report=launch_report,
        fresh_report=fresh_report,
        deep_quote=Quote(attest(), signature(attest())),
    )


def small_evidence() -> Evidence:
    """The same without certificates and reports."""
    return msgspec.structs.replace(
        evidence(), ak_certificate=None, issuer_chain=(), launch=None, launch_report=None,
        fresh_report=None, deep_quote=None,
    )  # fmt: skip


@cache
def policy(scheme: str = "chain") -> Policy:
    """A policy that names what the seeds hold."""
    allowed: dict[int, tuple[bytes, ...]] = {}
    for pcr, digest in boot().extends:
        allowed[pcr] = (*allowed.get(pcr, ()), digest)
    name = b"\0\x0b" + hashlib.sha256(public_area()).digest()
    containers = ContainerRules(managers={}, files=ima().allowed, max_unsealed=100)
    return Policy(
        scheme="allow-list" if scheme == "allow-list" else "chain",
        accepted_ak_names=(name,),
        authority_roots=(certificate(ca=True),),
        crls=(revocation_list(),),
        tee_roots=tuple(
            TeeRoot(name=root, tee=kind, kind="real")
            for kind, verifier in tee.verifiers().items()
            for root in verifier.roots
        ),
        boot=allowed,
        ima=ima().allowed,
        containers=containers if scheme == "chain" else None,
    )


def challenge() -> Challenge:
    """The challenge that the evidence answers."""
    return Challenge(NONCE, NOW_S - 1, NOW_S + 30)


def policies() -> tuple[bytes, ...]:
    """Policies as JSON."""
    return (encode_policy(policy()), b'{"scheme":"chain","tee_rules":{"csv":{"required_bits":5}}}')


@cache
def lists() -> tuple[bytes, ...]:
    """IMA lists: generated, and recorded from a guest with containers."""
    recorded = DATA / "ima"
    return (ima().binary, *(path.read_bytes() for path in sorted(recorded.glob("*/*ima_log"))))


def result_key() -> ec.EllipticCurvePublicKey:
    """The key of :func:`results`."""
    return _KEY.public_key()


def results() -> tuple[bytes, ...]:
    """A signed attestation result."""
    claims: dict[str, object] = {
        "eat_profile": PROFILE,
        "submods": {"vtpm": {"ear.status": "affirming"}},
    }
    return (sign_ear(claims, _KEY).encode(),)


def text_lists() -> tuple[bytes, ...]:
    """Lines as the kernel writes them, of several templates."""
    sha1, digest = "ab" * 20, "cd" * 32
    return (
        f"10 {sha1} ima-ng sha256:{digest} boot_aggregate\n"
        f"10 {sha1} ima-sig sha256:{digest} /bin/sh 030204000000070002aabb\n"
        f"10 {sha1} ima {sha1} /bin/a file\n".encode(),
        f"10 {sha1} ima-buf sha256:{digest} name 6162\n"
        f"11 {sha1} ima-ns sha256:{digest} /bin/ls 1,mnt:2,pid:3,user:4,cgroup:5\n".encode(),
    )


def runtime_policies() -> tuple[bytes, ...]:
    """Keylime's runtime policies."""
    keys = {"pubkeys": [base64.b64encode(certificate()).decode()], "keyids": [7]}
    policy = {
        "meta": {"version": 1, "generator": 1, "timestamp": ""}, "release": 0,
        "digests": {"/bin/sh": ["ab" * 32]}, "excludes": ["/tmp/.*", "(a|b)+"],
        "keyrings": {".ima": ["cd" * 32]}, "ima-buf": {},
        "ima": {"ignored_keyrings": ["*"], "log_hash_alg": "sha256", "dm_policy": None},
        "verification-keys": json.dumps(keys),
    }  # fmt: skip
    return (json.dumps(policy).encode(), json.dumps(policy | {"verification-keys": ""}).encode())


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def confirmation_key() -> bytes:
    """A P-256 public key as evidence names it."""
    return confirmation.encode_key(result_key())
