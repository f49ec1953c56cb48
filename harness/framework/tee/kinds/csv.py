"""Verification of Hygon CSV reports: HRK → HSK → CEK → PEK → report.

The same code judges a real processor's report and the software processor's; only the root that the
policy names differs.
"""

import hmac
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib import resources

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful, hash_of
from harness.framework.tee import csv_format, sm2
from harness.framework.tee.csv_format import Certificate, Report
from harness.framework.tee.report import TeeReport, TeeVerificationError, check_bits

POLICY_NODBG, POLICY_ES = 0x1, 0x4
_CEK_BODY = slice(csv_format.CA_SIZE, csv_format.CA_SIZE + csv_format.CERTIFICATE_SIGNED)


class CsvRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy decides about CSV guests.

    ``required_bits`` and ``forbidden_bits`` are of the guest policy (default: no debugging, bit 0;
    encrypted state, bit 2). ``rtmrs`` are the accepted values by register; only extended reports
    have registers. Without ``require_mac`` pages are accepted as Confidential Containers' attester
    sends them: signer in clear, spare bytes zero, so that the processor's MAC fits no longer.
    """

    required_bits: int = POLICY_NODBG | POLICY_ES
    forbidden_bits: int = 0
    rtmrs: dict[int, tuple[bytes, ...]] = {}
    require_mac: bool = True


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
        "tee.csv.rtmr": "a run-time measurement register is missing or has another value",
    }

    @property
    def roots(self) -> Mapping[str, bytes]:
        """See TeeVerifier: ``hygon``."""
        return {"hygon": _pinned()}

    def verify(
        self,
        evidence: TeeEvidence,
        root: bytes,
        rules: CsvRules = _STRICT,
        now_s: float = 0.0,  # noqa: ARG002 -- nothing of CSV expires
        memo: Memo = forgetful,
    ) -> TeeReport:
        """See TeeVerifier. ``root`` is the 832-byte HRK certificate."""
        page, certificates = evidence.report, evidence.certificates
        mac = rules.require_mac
        key = hash_of(f"csv report, MAC {mac}", root, certificates, page)
        return memo(key, lambda: _verify(page, certificates, root, memo, require_mac=mac))

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """See TeeVerifier: the HSK names the HRK's key id."""
        return len(root) == csv_format.CA_SIZE and evidence.certificates[20:36] == root[4:20]

    def check_rules(self, report: TeeReport, rules: CsvRules) -> Iterator[tuple[str, str]]:
        """See TeeVerifier: the bits of the guest policy, and the registers."""
        bits = rules.required_bits, rules.forbidden_bits
        yield from check_bits("tee.policy", "guest policy", report.policy, *bits)
        for register, digests in rules.rtmrs.items():
            if not 0 <= register < len(report.rtmrs) or report.rtmrs[register] not in digests:
                yield "tee.csv.rtmr", f"register {register} has no value that is accepted"


VERIFIERS = (CsvVerifier(),)


@cache
def _pinned() -> bytes:
    file = resources.files("harness.framework.tee") / "roots" / "hygon_hrk.cert"
    return file.read_bytes()


def _verify(
    page: bytes, certificates: bytes, root: bytes, memo: Memo, *, require_mac: bool
) -> TeeReport:
    try:
        report = csv_format.parse_report(page)
    except ParseError as error:
        raise TeeVerificationError("tee.csv.format", str(error)) from None
    # Four SM2 verifications, the same for every report of a chip; the first two for all chips.
    key = hash_of("csv pek", root, certificates, report.pek)
    pek = memo(key, lambda: _valid_pek(root, certificates, report.pek, memo))
    _check_signature(report, pek)
    _check_mac(report, require_mac=require_mac)
    return TeeReport(
        tee="csv",
        report_data=report.report_data,
        measurement=report.measurement,
        policy=report.policy,
        chip=report.serial.rstrip(b"\0").decode("ascii", "backslashreplace"),
        rtmrs=report.rtmrs,
        # Nothing signs the serial number; the chip's key is what can't be claimed by another chip.
        platform=sha256(certificates[_CEK_BODY]).digest(),
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


def _check_mac(report: Report, *, require_mac: bool) -> None:
    """Meant for the guest, which knows the mnonce. Here it covers serial and PEK's spare bytes."""
    mac = sm2.hmac_sm3(report.mnonce, report.mac_input)
    if hmac.compare_digest(mac, report.mac):
        return
    if require_mac:
        raise TeeVerificationError("tee.report.mac", "does not match the report's mnonce")
    if any(report.mac_input[-32:]):
        raise TeeVerificationError("tee.report.mac", "neither MAC nor zeros in the spare bytes")
