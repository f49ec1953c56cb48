"""Enrolment of hosts (design §5; TCG EK Credential Profile 2.5; RFC 5280 for certificates)."""

import datetime
import hmac
import secrets
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.binding import HostBinding
from harness.framework.own_keys import certificate_builder, common_name, write_private
from harness.framework.tpm.issuer import public_key_of
from harness.framework.tpm.keys import area_is_attestation_key, make_credential

_ROOT_DAYS, _HOST_DAYS, _CRL_DAYS = 3650, 365, 7
_SECRET_BYTES = 32
_ISSUES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip
_EK_EKU = x509.ObjectIdentifier("2.23.133.8.1")


class HostKeys(msgspec.Struct, frozen=True):
    """What a host presents: EK certificate and its chain (DER), EK and AK public areas, AK Name."""

    host: str
    ek_certificate: bytes
    ek_chain: tuple[bytes, ...]
    ek_public: bytes
    ak_public: bytes
    ak_name: bytes


class Enrolment(msgspec.Struct, frozen=True):
    """A challenge that only the TPM with this EK and this AK can answer."""

    keys: HostKeys
    secret: bytes
    credential: bytes
    encrypted: bytes


class Authority:
    """A P-256 certification authority kept in ``directory`` (its key in a file of mode 0600)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            key = serialization.load_pem_private_key(
                (directory / "authority.key").read_bytes(), password=None
            )
            self.certificate = x509.load_pem_x509_certificate(
                (directory / "authority.pem").read_bytes()
            )
        except (OSError, ValueError) as error:
            raise FrameworkError(f"{directory}: holds no authority: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise FrameworkError(f"{directory / 'authority.key'}: expected an EC key")
        self._key = key

    @classmethod
    def create(cls, directory: Path) -> "Authority":
        """Make a new authority. Raises ``FileExistsError`` when there is one."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = common_name("attestbench authority")
        certificate = (
            _builder(name, name, key.public_key(), _ROOT_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_ISSUES, critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(directory / "authority.key", key)
        (directory / "authority.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        (directory / "revoked.json").write_text("[]")
        return cls(directory)

    @property
    def root_der(self) -> bytes:
        """The root certificate that a policy pins."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def challenge(self, keys: HostKeys, manufacturer_roots: tuple[bytes, ...]) -> Enrolment:
        """Start an enrolment.

        Raises ``FrameworkError`` when the EK certificate does not lead to a manufacturer root,
        is not for this EK, or the AK is not a restricted key fixed to its TPM.
        """
        _check_ek(keys, manufacturer_roots)
        problem = area_is_attestation_key(keys.ak_public, keys.ak_name)
        if problem:
            raise FrameworkError(f"host {keys.host}: attestation key refused: {problem}")
        secret = secrets.token_bytes(_SECRET_BYTES)
        credential, encrypted = make_credential(keys.ek_public, keys.ak_name, secret)
        return Enrolment(keys, secret, credential, encrypted)

    def certify(self, enrolment: Enrolment, answer: bytes, issuing: bytes | None = None) -> bytes:
        """The host's CA certificate (DER, path length 0), once it has activated the credential.

        ``issuing`` is the public area of a separate issuing key that the caller has seen
        certified by the AK; without it the AK itself issues.
        """
        if not hmac.compare_digest(enrolment.secret, answer):
            raise FrameworkError(
                f"host {enrolment.keys.host}: credential activation failed;"
                " the attestation key is not in the TPM that the EK certificate names"
            )
        keys = enrolment.keys
        subject = common_name(f"hardware TPM of {keys.host}")
        host = bundle.encode(HostBinding(host=keys.host, ak_name=keys.ak_name))
        certificate = (
            _builder(
                subject,
                self.certificate.subject,
                public_key_of(issuing or keys.ak_public),
                _HOST_DAYS,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_ISSUES, critical=True)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(binding.HOST_OID), host),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.DER)

    def revoke(self, serial: int) -> None:
        """Put a certificate on the revocation list; later ``crl`` calls carry it."""
        path, serials = self._directory / "revoked.json", self._revoked()
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(sorted(map(str, serials | {serial}))))
        temporary.replace(path)

    def _revoked(self) -> set[int]:
        """Serial numbers. Without the file nobody could say that none is revoked."""
        path = self._directory / "revoked.json"
        try:
            return {int(text) for text in msgspec.json.decode(path.read_bytes(), type=list[str])}
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise FrameworkError(
                f"{path}: {error}; expected the serial numbers that this authority revoked, as a "
                "JSON list of texts"
            ) from None

    def crl(self) -> bytes:
        """A fresh revocation list (DER), valid for seven days."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - datetime.timedelta(minutes=5))
            .next_update(now + datetime.timedelta(days=_CRL_DAYS))
        )
        for serial in sorted(self._revoked()):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return certificate_builder(subject, issuer, key, days).add_extension(identifier, critical=False)


def _check_ek(keys: HostKeys, roots: tuple[bytes, ...]) -> None:
    """The EK certificate leads to a manufacturer root and certifies the TPM's own EK."""
    try:
        certificate = x509.load_der_x509_certificate(keys.ek_certificate)
        intermediates = [x509.load_der_x509_certificate(der) for der in keys.ek_chain]
        anchors = [x509.load_der_x509_certificate(der) for der in roots]
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise FrameworkError(f"host {keys.host}: EK certificate chain: {error}") from error
    if _EK_EKU not in usages:
        raise FrameworkError(f"host {keys.host}: the certificate is not for an endorsement key")
    now = datetime.datetime.now(datetime.UTC)
    path = [certificate, *intermediates]
    for link, issuer in zip(path, [*intermediates, None], strict=True):
        candidates = anchors if issuer is None else [issuer]
        if not any(_issued(link, candidate) for candidate in candidates):
            raise FrameworkError(
                f"host {keys.host}: EK certificate: no manufacturer root issued it"
            )
        if not link.not_valid_before_utc <= now <= link.not_valid_after_utc:
            raise FrameworkError(f"host {keys.host}: EK certificate chain is not valid today")
    if _spki(certificate.public_key()) != _spki(public_key_of(keys.ek_public)):
        raise FrameworkError(f"host {keys.host}: the EK certificate is for another TPM's key")


def _issued(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        constraints = parent.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            return False
        child.verify_directly_issued_by(parent)
    except Exception:
        return False
    return True


def _spki(key: Any) -> bytes:
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    raise FrameworkError("the endorsement key is neither RSA nor EC")
