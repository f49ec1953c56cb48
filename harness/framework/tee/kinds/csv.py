"""Verification of Hygon CSV reports: HRK → HSK → CEK → PEK → report.

The same code judges a real processor's report and the software processor's; only the root that the
policy names differs.
"""

import hmac
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful, hash_of
from harness.framework.tee import csv_format, sm2
from harness.framework.tee.csv_format import Certificate, Report
from harness.framework.tee.report import TeeReport, TeeVerificationError

POLICY_NODBG, POLICY_NOKS, POLICY_ES, POLICY_NOSEND = 0x1, 0x2, 0x4, 0x8
POLICY_CSV3 = 0x40


class CsvRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Guest policy bits of CSV. Default: no debugging (bit 0), encrypted state (bit 2)."""

    required_bits: int = POLICY_NODBG | POLICY_ES
    forbidden_bits: int = 0


_STRICT = CsvRules()


class CsvVerifier:
    """TeeVerifier for ``csv``."""

    tee = "csv"
    rules_type = CsvRules
    failures: Mapping[str, str] = {
        "tee.csv.format": "a CSV report or certificate can't be read",
        "tee.chain.root": "the processor vendor's root isn't self-signed",
        "tee.chain.hsk": "the vendor's key isn't signed by the root",
        "tee.chain.cek": "the chip's key isn't signed by the vendor's",
        "tee.chain.pek": "the platform's key isn't signed by the chip's",
        "tee.report.mac": "the report's MAC is wrong",
    }

    @property
    def roots(self) -> Mapping[str, bytes]:
        """See TeeVerifier: ``hygon``."""
        return {"hygon": _pinned()}

    def verify(
        self,
        evidence: TeeEvidence,
        root: bytes,
        rules: CsvRules = _STRICT,  # noqa: ARG002
        now_s: float = 0.0,  # noqa: ARG002 -- nothing of CSV expires
        memo: Memo = forgetful,
    ) -> TeeReport:
        """See TeeVerifier. ``root`` is the 832-byte HRK certificate."""
        page, certificates = evidence.report, evidence.certificates
        key = hash_of("csv report", root, certificates, page)
        return memo(key, lambda: _verify(page, certificates, root, memo))

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """See TeeVerifier: the HSK names the HRK's key id."""
        return len(root) == csv_format.CA_SIZE and evidence.certificates[20:36] == root[4:20]

    def check_rules(self, report: TeeReport, rules: CsvRules) -> Iterator[tuple[str, str]]:
        """See TeeVerifier: the bits of the guest policy."""
        required, forbidden = rules.required_bits, rules.forbidden_bits
        if report.policy & required != required or report.policy & forbidden:
            yield (
                "tee.policy",
                f"guest policy {report.policy:#x}, required bits {required:#x}, "
                f"forbidden {forbidden:#x}",
            )


VERIFIERS = (CsvVerifier(),)


@cache
def _pinned() -> bytes:
    file = resources.files("harness.framework.tee") / "roots" / "hygon_hrk.cert"
    return file.read_bytes()


def _verify(page: bytes, certificates: bytes, root: bytes, memo: Memo) -> TeeReport:
    try:
        report = csv_format.parse_report(page)
    except ParseError as error:
        raise TeeVerificationError("tee.csv.format", str(error)) from None
    # Four SM2 verifications, the same for every report of a chip; the first two for all chips.
    key = hash_of("csv pek", root, certificates, report.pek)
    pek = memo(key, lambda: _valid_pek(root, certificates, report.pek, memo))
    _check_signature(report, pek)
    return TeeReport(
        tee="csv",
        report_data=report.report_data,
        measurement=report.measurement,
        policy=report.policy,
        chip=report.serial.rstrip(b"\0").decode("ascii", "backslashreplace"),
        rtmrs=report.rtmrs,
    )


def _valid_pek(root: bytes, certificates: bytes, pek_raw: bytes, memo: Memo) -> Certificate:
    """The PEK, if the chain from ``root`` down to it holds."""
    split = csv_format.CA_SIZE
    try:
        hrk = csv_format.parse_ca_certificate(root)
        hsk = csv_format.parse_ca_certificate(certificates[:split])
        cek = csv_format.parse_certificate(certificates[split:])
        pek = csv_format.parse_certificate(pek_raw)
    except ParseError as error:
        raise TeeVerificationError("tee.csv.format", str(error)) from None
    _check_issued(hrk, hrk, csv_format.USAGE_HRK, "root", memo)
    _check_issued(hsk, hrk, csv_format.USAGE_HSK, "hsk", memo)
    _check_issued(cek, hsk, csv_format.USAGE_CEK, "cek", memo)
    _check_issued(pek, cek, csv_format.USAGE_PEK, "pek", memo)
    return pek


def _check_issued(
    certificate: Certificate, issuer: Certificate, usage: int, name: str, memo: Memo
) -> None:
    failure = f"tee.chain.{name}"
    if certificate.usage != usage or certificate.algorithm != csv_format.ALGORITHM_SM2_SA:
        raise TeeVerificationError(
            failure,
            f"usage {certificate.usage:#x} with algorithm {certificate.algorithm}, "
            f"expected {usage:#x} with {csv_format.ALGORITHM_SM2_SA}",
        )
    # CEK and PEK have no key id of their own; the PEK's issuer is known by usage alone.
    if issuer.key_id and certificate.issuer_key_id != issuer.key_id:
        raise TeeVerificationError(failure, "names another issuer's key id")
    # The PEK's second signature is the platform owner's, whom no policy names.
    ours = [slot for slot in certificate.signatures if slot.usage == issuer.usage]
    others = {slot.usage for slot in certificate.signatures} - {issuer.usage}
    if len(ours) != 1 or not others <= ({csv_format.USAGE_OCA} if name == "pek" else set()):
        raise TeeVerificationError(failure, "is not signed by its issuer once and nobody else")
    if ours[0].algorithm != csv_format.ALGORITHM_SM2_SA or not memo(
        _issued_key(certificate, issuer, ours[0].signature),
        lambda: sm2.verify(issuer.public, issuer.user_id, certificate.signed, ours[0].signature),
    ):
        raise TeeVerificationError(failure, "no valid signature of its issuer")


def _issued_key(certificate: Certificate, issuer: Certificate, signature: sm2.Signature) -> bytes:
    numbers = b"".join(number.to_bytes(32) for number in signature)
    return hash_of("csv issued", issuer.public, issuer.user_id, certificate.signed, numbers)


def _check_signature(report: Report, pek: Certificate) -> None:
    expected = (csv_format.USAGE_PEK, csv_format.ALGORITHM_SM2_SA)
    if (report.signature_usage, report.signature_algorithm) != expected:
        raise TeeVerificationError(
            "tee.report.signature",
            f"usage {report.signature_usage:#x} with algorithm {report.signature_algorithm}, "
            f"expected {expected[0]:#x} with {expected[1]}",
        )
    if not sm2.verify(pek.public, pek.user_id, report.signed, report.signature):
        raise TeeVerificationError("tee.report.signature", "is not the PEK's")
    # Meant for the guest, which knows the mnonce. Here it covers serial and PEK's spare bytes.
    mac = sm2.hmac_sm3(report.mnonce, report.mac_input)
    if not hmac.compare_digest(mac, report.mac):
        raise TeeVerificationError("tee.report.mac", "does not match the report's mnonce")
