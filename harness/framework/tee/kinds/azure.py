"""Azure's confidential VMs: a paravisor whose SNP report or TDX quote vouches for its vTPM's key.

The hardware report carries the hash of the paravisor's runtime data, and these name the vTPM's
attestation key. Inside is the evidence of another kind, which that kind's verifier judges.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful
from harness.framework.tee import azure_format
from harness.framework.tee.azure_format import HclReport, VmConfiguration
from harness.framework.tee.kinds.snp import SnpVerifier
from harness.framework.tee.kinds.tdx import TdxDetails, TdxVerifier
from harness.framework.tee.report import TeeReport, TeeVerificationError
from harness.framework.tee.snp_rules import SnpRules
from harness.framework.tee.tdx_rules import TdxRules


class AzureSnpRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules of the hardware beneath, and of what the paravisor says of its VM."""

    hardware: SnpRules = SnpRules()
    require_secure_boot: bool = True


class AzureTdxRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules of the hardware beneath, and of what the paravisor says of its VM."""

    hardware: TdxRules = TdxRules()
    require_secure_boot: bool = True


class AzureDetails(msgspec.Struct, frozen=True):
    """The hardware's report as its own verifier gave it, and the VM's configuration."""

    hardware: TeeReport
    configuration: VmConfiguration


class _AzureVerifier:
    """What is the same for both kinds of hardware."""

    tee: str
    rules_type: type[AzureSnpRules] | type[AzureTdxRules]
    _kind: azure_format.Hardware
    _hardware: SnpVerifier | TdxVerifier

    @property
    def failures(self) -> Mapping[str, str]:
        """See TeeVerifier."""
        return {
            "tee.azure.format": "a paravisor's report or its runtime data can't be read",
            "tee.azure.binding": "the hardware report isn't about these runtime data",
            "tee.azure.td_report": "the paravisor's TD report isn't the one that was quoted",
            "tee.azure.secure_boot": "the VM doesn't boot securely",
        }

    @property
    def roots(self) -> Mapping[str, bytes]:
        """See TeeVerifier: those of the hardware."""
        return self._hardware.roots

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """See TeeVerifier: by what the hardware's certificates say."""
        return self._hardware.is_root_of(self._inner(evidence, b""), root)

    def verify(
        self,
        evidence: TeeEvidence,
        root: bytes,
        rules: Any = None,
        now_s: float = 0.0,
        memo: Memo = forgetful,
    ) -> TeeReport:
        """See TeeVerifier."""
        try:
            report = azure_format.parse_report(evidence.report, self._kind)
        except ParseError as error:
            raise TeeVerificationError("tee.azure.format", str(error)) from None
        inner = self._inner(evidence, report.hardware)
        given: Any = rules or self.rules_type()
        return self._bound(report, self._hardware.verify(inner, root, given.hardware, now_s, memo))

    def check_rules(self, report: TeeReport, rules: Any) -> Iterator[tuple[str, str]]:
        """See TeeVerifier: the hardware's own rules, then the VM's configuration."""
        if not isinstance(report.details, AzureDetails):
            raise TypeError(f"a report of {report.tee!r} is not for the rules of {self.tee}")
        yield from self._hardware.check_rules(report.details.hardware, rules.hardware)
        if rules.require_secure_boot and not report.details.configuration.secure_boot:
            yield "tee.azure.secure_boot", "secure boot is off"

    def _inner(self, evidence: TeeEvidence, hardware: bytes) -> TeeEvidence:
        """The hardware's own evidence; ``hardware`` is its report in the paravisor's."""
        raise NotImplementedError

    def _bound(self, report: HclReport, hardware: TeeReport) -> TeeReport:
        """The paravisor's report, if ``hardware`` is about its runtime data."""
        if not azure_format.is_bound(report, hardware.report_data):
            raise TeeVerificationError(
                "tee.azure.binding", "the report data aren't the runtime data's hash"
            )
        return TeeReport(
            tee=self.tee,
            report_data=report.user_data,
            measurement=hardware.measurement,
            policy=hardware.policy,
            chip=hardware.chip,
            rtmrs=hardware.rtmrs,
            key=report.ak,
            instance=report.configuration.vm_id,
            details=AzureDetails(hardware, report.configuration),
        )


class AzureSnpVerifier(_AzureVerifier):
    """TeeVerifier for ``az-snp-vtpm``.

    ``TeeEvidence.report`` is the paravisor's report, ``certificates`` are those of ``snp``.
    """

    tee = "az-snp-vtpm"
    rules_type = AzureSnpRules
    _kind = azure_format.SNP
    _hardware = SnpVerifier()

    def _inner(self, evidence: TeeEvidence, hardware: bytes) -> TeeEvidence:
        return TeeEvidence("snp", hardware, evidence.certificates)


class AzureTdxVerifier(_AzureVerifier):
    """TeeVerifier for ``az-tdx-vtpm``.

    ``TeeEvidence.report`` is the paravisor's report, ``certificates`` is the TD quote, which brings
    its own certificates.
    """

    tee = "az-tdx-vtpm"
    rules_type = AzureTdxRules
    _kind = azure_format.TDX
    _hardware = TdxVerifier()

    def _inner(self, evidence: TeeEvidence, hardware: bytes) -> TeeEvidence:  # noqa: ARG002
        return TeeEvidence("tdx", evidence.certificates, b"")

    def _bound(self, report: HclReport, hardware: TeeReport) -> TeeReport:
        details = hardware.details
        if not isinstance(details, TdxDetails) or not azure_format.is_td_report_of(
            report.hardware, details.quote.body
        ):
            raise TeeVerificationError("tee.azure.td_report", "differs from the quote's body")
        return super()._bound(report, hardware)


VERIFIERS = (AzureSnpVerifier(), AzureTdxVerifier())
