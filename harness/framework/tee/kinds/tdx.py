"""Verification of Intel TDX quotes: SGX root → PCK → quoting enclave → quote, and Intel's verdict.

What Intel says about a platform (TCB info, identity of the quoting enclave, revocation lists) comes
from the policy as :class:`Collateral`; without it a quote only proves who made it.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful, hash_of
from harness.framework.tee import tdx_format, tdx_rules, tdx_verdict, vendor_certificate
from harness.framework.tee.report import TeeReport, TeeVerificationError
from harness.framework.tee.tdx_format import Platform, Quote
from harness.framework.tee.tdx_rules import TdxRules
from harness.framework.tee.tdx_verdict import Verdict
from harness.framework.tee.vendor_certificate import ChainError, VendorCertificate


class TdxDetails(msgspec.Struct, frozen=True):
    """The whole quote, its platform, and what Intel's collateral says, where the policy has it."""

    quote: Quote
    platform: Platform
    verdict: Verdict | None


_STRICT = TdxRules()


class TdxVerifier:
    """TeeVerifier for ``tdx``.

    ``TeeEvidence.certificates`` is empty: a quote brings its own. A root is a certificate as DER.
    The measurement is MRTD, the policy the TD's attributes, the chip the PPID.
    """

    tee = "tdx"
    rules_type = TdxRules
    failures: Mapping[str, str] = {
        "tee.tdx.format": "a TDX quote or its certificates can't be read",
        "tee.tdx.chain": "the platform's key isn't certified under Intel's root",
        "tee.tdx.validity": "a certificate of Intel isn't valid at the time of verification",
        "tee.tdx.revoked": "a certificate of Intel is revoked",
        "tee.tdx.crl": "a revocation list of Intel is missing, stale or not its issuer's",
        "tee.tdx.qe.signature": "the quoting enclave's report isn't signed by the platform",
        "tee.tdx.qe.binding": "the quoting enclave's report is about another attestation key",
        "tee.tdx.qe.identity": "the quoting enclave isn't Intel's",
        "tee.tdx.module": "the TDX module isn't one that Intel's TCB info knows",
        "tee.tdx.collateral.missing": "no TCB info, enclave identity or list for this platform",
        "tee.tdx.collateral.signature": "the collateral isn't signed by Intel",
        "tee.tdx.collateral.stale": "the collateral is out of date or from the future",
        "tee.tdx.collateral.evaluation": "the collateral is of an evaluation that is too old",
        "tee.tdx.tcb": "the platform's TCB status isn't accepted",
        "tee.tdx.seam": "the TDX module's measurement isn't accepted",
        "tee.tdx.config": "the TD's configuration or owner isn't accepted",
        "tee.tdx.service_td": "the TD is bound to a service TD that isn't accepted",
        "tee.tdx.rtmr": "a run-time measurement register has a value that isn't accepted",
    }

    @property
    def roots(self) -> Mapping[str, bytes]:
        """See TeeVerifier: ``intel-sgx``."""
        return {"intel-sgx": _pinned()}

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """See TeeVerifier: by the name of the PCK authority's issuer.

        True for what can't be read, so that :meth:`verify` says what is wrong with it.
        """
        subject = vendor_certificate.parse_root(root).subject
        try:
            chain = tdx_format.parse_quote(evidence.report).chain
            return vendor_certificate.parse(chain[1]).issuer == subject
        except ParseError:
            return True

    def verify(
        self,
        evidence: TeeEvidence,
        root: bytes,
        rules: TdxRules = _STRICT,
        now_s: float = 0.0,
        memo: Memo = forgetful,
    ) -> TeeReport:
        """See TeeVerifier.

        Raises:
            PolicyError: the root or the collateral of the policy can't be read.
        """
        try:
            if evidence.certificates:
                raise ParseError("TDX evidence", "certificates beside those of the quote")
            quote = tdx_format.parse_quote(evidence.report)
            path = memo(
                hash_of("tdx chain", root, *quote.chain), lambda: _signed_path(quote.chain, root)
            )
            platform = tdx_format.parse_platform(path[0].extensions.get(tdx_format.SGX_OID, b""))
            verdict = None
            lists: list[x509.CertificateRevocationList] = []
            if rules.collateral is not None:
                statements = tdx_verdict.read_collateral(rules.collateral, memo)
                lists = statements.lists
                verdict = tdx_verdict.judge(statements, quote, platform, path[-1], now_s, memo)
            vendor_certificate.check_dates(path, lists, now_s, require_lists=verdict is not None)
        except ParseError as error:
            raise TeeVerificationError("tee.tdx.format", str(error)) from None
        except ChainError as error:
            raise TeeVerificationError(f"tee.tdx.{error.check}", error.detail) from None
        memo(
            hash_of("tdx quote", path[0].der, evidence.report), lambda: _check_quote(quote, path[0])
        )
        return TeeReport(
            tee="tdx",
            report_data=quote.body.report_data,
            measurement=quote.body.mrtd,
            policy=quote.body.attributes,
            chip=platform.ppid.hex(),
            rtmrs=quote.body.rtmrs,
            details=TdxDetails(quote, platform, verdict),
        )

    def check_rules(self, report: TeeReport, rules: TdxRules) -> Iterator[tuple[str, str]]:
        """See TeeVerifier."""
        if not isinstance(report.details, TdxDetails):
            raise TypeError(f"a report of {report.tee!r} is not for the rules of tdx")
        details = report.details
        yield from tdx_rules.check(details.quote.body, details.verdict, rules)


VERIFIERS = (TdxVerifier(),)


@cache
def _pinned() -> bytes:
    file = resources.files("harness.framework.tee") / "roots" / "intel_sgx.pem"
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def _signed_path(chain: tuple[bytes, ...], root: bytes) -> tuple[VendorCertificate, ...]:
    """PCK, its authority and the policy's root, if each is signed by the next."""
    given = [vendor_certificate.parse(der) for der in chain]
    top = vendor_certificate.parse_root(root)
    path = (given[0], given[1], top)
    vendor_certificate.check_signatures(path)
    # Intel renewed its root without a new key; whatever the quote brings must be of that key.
    for own in given[2:]:
        if own.spki != top.spki or not vendor_certificate.is_signed_by(own, top):
            raise ChainError("chain", "the quote brings another root than the policy's")
    return path


def _check_quote(quote: Quote, pck: VendorCertificate) -> None:
    """Platform's key → quoting enclave's report → attestation key → quote."""
    qe = quote.qe_report
    if not isinstance(pck.key, ec.EllipticCurvePublicKey) or not _is_signed(
        quote.qe_signature, qe.signed, pck.key
    ):
        raise TeeVerificationError("tee.tdx.qe.signature", "is not the PCK's")
    if not tdx_format.is_intels_enclave(qe):
        raise TeeVerificationError(
            "tee.tdx.qe.identity",
            f"enclave signed by {qe.mrsigner.hex()}, product {qe.isv_prod_id}, attributes "
            f"{qe.attributes.hex()}",
        )
    key_hash = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest()
    if not hmac.compare_digest(qe.report_data, key_hash.ljust(64, b"\0")):
        raise TeeVerificationError("tee.tdx.qe.binding", "the report data aren't the key's hash")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), b"\4" + quote.attestation_key
        )
    except ValueError:
        raise TeeVerificationError(
            "tee.report.signature", "the attestation key isn't on P-256"
        ) from None
    if not _is_signed(quote.signature, quote.signed, key):
        raise TeeVerificationError("tee.report.signature", "is not the attestation key's")


def _is_signed(signature: bytes, message: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
