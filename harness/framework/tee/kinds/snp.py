"""Verification of AMD SEV-SNP reports: ARK → ASK → VCEK or ARK → ASVK → VLEK → report.

Everything here reads only the report and its certificates; what a policy decides is in
:mod:`harness.framework.tee.snp_rules`.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful, hash_of
from harness.framework.tee import snp_format, snp_rules, vendor_certificate
from harness.framework.tee.report import TeeReport, TeeVerificationError
from harness.framework.tee.snp_format import Endorsement, Report
from harness.framework.tee.snp_rules import SnpRules
from harness.framework.tee.vendor_certificate import ChainError, VendorCertificate

_LINES = ("milan", "genoa", "turin")
_LEAVES = {"vcek": "SEV-VCEK", "vlek": "SEV-VLEK"}
_ISSUERS = {"vcek": "SEV", "vlek": "SEV-VLEK"}


class SnpDetails(msgspec.Struct, frozen=True):
    """The whole report, and the product line that its certificate names."""

    report: Report
    line: str


class _Chain(msgspec.Struct, frozen=True):
    """Certificates whose signatures hold, leaf first; what the leaf says and which kind it is."""

    path: tuple[VendorCertificate, ...]
    endorsement: Endorsement
    kind: str


_STRICT = SnpRules()


class SnpVerifier:
    """TeeVerifier for ``snp``.

    ``TeeEvidence.certificates`` are DER, one after the other: the VCEK or VLEK, then, unless it is
    one of AMD's own that come with the package, the ASK or ASVK, and, where the host hands it out
    too, the ARK. A root is an ARK as DER.
    """

    tee = "snp"
    rules_type = SnpRules
    failures: Mapping[str, str] = {
        "tee.snp.format": "an SNP report or its certificates can't be read",
        "tee.snp.chain": "the chip's key isn't certified under the vendor's root",
        "tee.snp.validity": "a vendor certificate isn't valid at the time of verification",
        "tee.snp.revoked": "a vendor certificate is revoked",
        "tee.snp.crl": "a vendor's revocation list is missing, stale or not its issuer's",
        "tee.snp.signing_key": "the report is signed by another kind of key than its certificate's",
        "tee.snp.chip": "the certificate is for another chip than the report's, or for none",
        "tee.snp.tcb": "the certificate is for another TCB than the report's",
        "tee.snp.product": "root, certificate and report are of different product lines",
        "tee.snp.abi": "the guest policy asks for a lower ABI version than accepted",
        "tee.snp.vmpl": "the report was requested from a VMPL that the policy doesn't accept",
        "tee.snp.tcb.minimum": "a security patch level is lower than accepted",
        "tee.snp.guest_svn": "the guest's version is lower than accepted",
        "tee.snp.platform": "the platform lacks a required feature or has a forbidden one",
        "tee.snp.mitigations": "a required mitigation wasn't there at launch or isn't now",
        "tee.snp.chip.masked": "the report hides its chip's identity",
        "tee.snp.author": "the guest's author key isn't one that the policy accepts",
        "tee.snp.id_key": "the guest's identity key isn't one that the policy accepts",
        "tee.snp.host_data": "the host's data aren't those that the policy accepts",
    }

    @property
    def roots(self) -> Mapping[str, bytes]:
        """See TeeVerifier: ``amd-milan``, ``amd-genoa`` and ``amd-turin``."""
        return {f"amd-{line}": _pinned(line)[1].der for line in _LINES}

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """See TeeVerifier: by the name of the intermediate's issuer.

        True for what can't be read, so that :meth:`verify` says what is wrong with it.
        """
        subject = vendor_certificate.parse_root(root).subject
        try:
            given = _parsed(evidence.certificates)
        except ParseError:
            return True
        intermediate = _intermediate(given) if given else None
        return not given or (intermediate is not None and intermediate.issuer == subject)

    def verify(
        self,
        evidence: TeeEvidence,
        root: bytes,
        rules: SnpRules = _STRICT,
        now_s: float = 0.0,
        memo: Memo = forgetful,
    ) -> TeeReport:
        """See TeeVerifier.

        Raises:
            PolicyError: the root or a revocation list of the policy can't be read.
        """
        raw, certificates = evidence.report, evidence.certificates
        try:
            key = hash_of("snp chain", root, certificates)
            chain = memo(key, lambda: _signed_chain(root, certificates))
            _check_dates(chain, rules, now_s)
            key = hash_of("snp report", root, certificates, raw)
            return memo(key, lambda: _bound_report(raw, chain))
        except ParseError as error:
            raise TeeVerificationError("tee.snp.format", str(error)) from None
        except ChainError as error:
            raise TeeVerificationError(f"tee.snp.{error.check}", error.detail) from None

    def check_rules(self, report: TeeReport, rules: SnpRules) -> Iterator[tuple[str, str]]:
        """See TeeVerifier."""
        if not isinstance(report.details, SnpDetails):
            raise TypeError(f"a report of {report.tee!r} is not for the rules of snp")
        yield from snp_rules.check(report.details.report, report.details.line, rules)


VERIFIERS = (SnpVerifier(),)


@cache
def _pinned(line: str) -> tuple[VendorCertificate, ...]:
    """AMD's own certificates of a product line: ASK, ARK and ASVK."""
    file = resources.files("harness.framework.tee") / "roots" / f"amd_{line}.pem"
    return tuple(
        vendor_certificate.parse(certificate.public_bytes(Encoding.DER))
        for certificate in x509.load_pem_x509_certificates(file.read_bytes())
    )


def _parsed(certificates: bytes) -> tuple[VendorCertificate, ...]:
    return tuple(vendor_certificate.parse(der) for der in vendor_certificate.split(certificates))


def _intermediate(given: tuple[VendorCertificate, ...]) -> VendorCertificate | None:
    """The ASK or ASVK above the leaf: given, or one of AMD's own."""
    if len(given) > 1:
        return given[1]
    own = (certificate for line in _LINES for certificate in _pinned(line))
    return next((one for one in own if one.subject == given[0].issuer), None)


def _signed_chain(root: bytes, certificates: bytes) -> _Chain:
    given, ark = _parsed(certificates), vendor_certificate.parse_root(root)
    if not 1 <= len(given) <= 3:
        raise ChainError("chain", f"{len(given)} certificates, expected 1 to 3")
    if len(given) == 3 and given[2].der != root:
        raise ChainError("chain", "the evidence brings another root than the policy's")
    intermediate = _intermediate(given)
    if intermediate is None:
        raise ChainError("chain", "no certificate of the chip key's issuer")
    path = (given[0], intermediate, ark)
    vendor_certificate.check_signatures(path)
    endorsement = snp_format.parse_endorsement(path[0])
    names, line = tuple(certificate.common_name for certificate in path), endorsement.line
    for kind, leaf in _LEAVES.items():
        if names[1:] == (f"{_ISSUERS[kind]}-{line}", f"ARK-{line}") and names[0].startswith(leaf):
            return _Chain(path, endorsement, kind)
    raise TeeVerificationError("tee.snp.product", f"certificate for {line}, chain of {names}")


def _check_dates(chain: _Chain, rules: SnpRules, now_s: float) -> None:
    try:
        lists = [vendor_certificate.parse_list(der) for der in rules.crls]
    except ParseError as error:
        raise PolicyError(f"policy: tee_rules.snp.crls: {error}") from None
    vendor_certificate.check_dates(chain.path, lists, now_s, require_lists=rules.require_crl)


def _bound_report(raw: bytes, chain: _Chain) -> TeeReport:
    """The report, signed by the chain's leaf, which was issued for its chip and TCB."""
    report, leaf, endorsement = snp_format.parse_report(raw), chain.path[0], chain.endorsement
    if report.signing_key != chain.kind:
        raise TeeVerificationError(
            "tee.snp.signing_key",
            f"signed by a {report.signing_key}, certificate of a {chain.kind}",
        )
    if not isinstance(leaf.key, ec.EllipticCurvePublicKey):
        raise TeeVerificationError("tee.report.signature", "the chip's key isn't on a curve")
    try:
        leaf.key.verify(report.signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise TeeVerificationError("tee.report.signature", f"is not the {chain.kind}'s") from None
    return TeeReport(
        tee="snp",
        report_data=report.report_data,
        measurement=report.measurement,
        policy=report.policy,
        chip=_chip(report, endorsement).hex(),
        details=SnpDetails(report, endorsement.line),
    )


def _chip(report: Report, endorsement: Endorsement) -> bytes:
    """The chip's id, if certificate and report agree on chip, TCB and product line."""
    line = endorsement.line
    if report.model is not None and snp_format.line_of_model(report.model) != line:
        family, model = report.model
        raise TeeVerificationError(
            "tee.snp.product", f"family {family:#x} model {model:#x}, certificate for {line}"
        )
    reported = snp_format.tcb_parts(report.reported_tcb, line)
    if reported != endorsement.tcb:
        raise TeeVerificationError(
            "tee.snp.tcb", f"certificate for {endorsement.tcb}, report of {reported}"
        )
    reported_chip = snp_format.chip_id_of(report, line)
    if report.signing_key == "vlek":
        return reported_chip or b""
    if endorsement.chip_id is None or reported_chip not in (None, endorsement.chip_id):
        raise TeeVerificationError("tee.snp.chip", "the VCEK is another chip's")
    return endorsement.chip_id
