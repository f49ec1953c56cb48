"""The attestation key's origin: its attributes, the TEE that launched its vTPM, and its host."""

import hmac
from hashlib import sha256
from typing import NamedTuple

from harness.framework import tee
from harness.framework.evidence import binding, ccel
from harness.framework.evidence.bundle import Evidence, LaunchClaims, TeeEvidence
from harness.framework.evidence.memo import hash_of
from harness.framework.evidence.tpm_public import (
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    PublicArea,
)
from harness.framework.tee import TeeReport, TeeVerificationError
from harness.framework.verify.boot_rules import BootRules, check_ccel
from harness.framework.verify.chain import Chain
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.policy import TeeRoot
from harness.framework.verify.result import TrustKind

_REQUIRED = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
_FORBIDDEN = DECRYPT


class TeeTrust(NamedTuple):
    """A report whose signatures hold, the root that it goes back to, and whether it is bound.

    ``event_log`` is what came as the explanation of its registers.
    """

    report: TeeReport
    root: TeeRoot
    bound: bool
    event_log: bytes


class Launch(NamedTuple):
    """What is known about a launch; ``valid`` says that certificate and claims agree with it."""

    tee: TeeTrust
    instance: str
    host: str
    host_key: bytes
    valid: bool


def check_attributes(public: PublicArea, failures: FailureList) -> None:
    """The key must never have been outside its TPM, and must sign TPM-made structures only."""
    failures.require(
        public.attributes & (_REQUIRED | _FORBIDDEN) == _REQUIRED,
        "chain.ak.attributes",
        f"attributes {public.attributes:#010x}, required {_REQUIRED:#010x}, "
        f"forbidden {_FORBIDDEN:#010x}",
    )


def check_launch(
    evidence: Evidence, chain: Chain, public: PublicArea, context: Context
) -> Launch | None:
    """Check the launch report, its claims, and that the AK certificate is about them."""
    claims, report, failures = evidence.launch, evidence.launch_report, context.failures
    if claims is None or report is None:
        failures.add("chain.launch.missing", "no launch claims or no launch report")
        return None
    before = len(failures.found)
    failures.require(
        hmac.compare_digest(claims.ak_name, public.name),
        "chain.launch.ak_name",
        f"claims for {claims.ak_name.hex()}, the key is {public.name.hex()}",
    )
    _check_instance(claims, chain, failures)
    host = _check_host(claims, chain, failures)
    trust = check_tee(report, binding.launch_report_data(claims), "tee.report.binding", context)
    if trust is None:
        return None
    expected = binding.launch_binding(claims, report.report, trust.report.measurement)
    failures.require(
        chain.leaf.launch == expected,
        "chain.ak.launch",
        "the certificate is not about these launch claims and report",
    )
    valid = chain.valid and len(failures.found) == before
    return Launch(trust, claims.instance, host, claims.host_ak_name, valid)


def check_paravisor(evidence: Evidence, public: PublicArea, context: Context) -> Launch | None:
    """Check the report of a paravisor that vouches for the key of the vTPM that it emulates."""
    failures = context.failures
    before = len(failures.found)
    beside = (evidence.ak_certificate, evidence.issuer_chain or None, evidence.launch)
    failures.require(
        beside == (None, None, None),
        "chain.paravisor.form",
        "certificates or launch claims, which this scheme doesn't judge",
    )
    if evidence.launch_report is None:
        failures.add("chain.launch.missing", "no report of the paravisor")
        return None
    verified = _verified(evidence.launch_report, context)
    if verified is None:
        return None
    report, root = verified
    bound = failures.require(
        hmac.compare_digest(report.key, public.spki),
        "chain.paravisor.key",
        f"vouches for {report.key.hex() or 'no key'}",
    )
    trust = TeeTrust(report, root, bound, evidence.launch_report.event_log)
    return Launch(trust, report.instance, "", b"", len(failures.found) == before)


def check_tee(
    evidence: TeeEvidence, report_data: bytes, failure_id: str, context: Context
) -> TeeTrust | None:
    """Verify a TEE report against the policy's roots, and that it carries ``report_data``."""
    verified = _verified(evidence, context)
    if verified is None:
        return None
    report, root = verified
    bound = context.failures.require(
        hmac.compare_digest(report.report_data, report_data),
        failure_id,
        "the report's data are not the expected ones",
    )
    return TeeTrust(report, root, bound, evidence.event_log)


def _verified(evidence: TeeEvidence, context: Context) -> tuple[TeeReport, TeeRoot] | None:
    failures = context.failures
    verifier = tee.verifier(evidence.tee)
    if verifier is None:
        failures.add("tee.kind", f"TEE {evidence.tee!r} can't be verified")
        return None
    pinned, rules = context.policy.root_bytes, context.policy.rules_by_tee[evidence.tee]
    roots = [
        root
        for root in context.policy.tee_roots
        if root.tee == evidence.tee and verifier.is_root_of(evidence, pinned[root])
    ]
    if not roots:
        failures.add("tee.root", "the report's vendor key names no root of the policy")
        return None
    refused = None
    for root in roots:
        try:
            report = verifier.verify(evidence, pinned[root], rules, context.now_s, context.memo)
        except TeeVerificationError as error:
            refused = error
        else:
            return report, root
    if refused is not None:
        failures.add(refused.failure, refused.detail)
    return None


def check_fresh_report(
    evidence: Evidence, nonce: bytes, launch: Launch | None, context: Context
) -> TeeTrust | None:
    """Check the report made for this attestation, if there is one or must be one."""
    fresh, failures = evidence.fresh_report, context.failures
    if fresh is None:
        policy = context.policy
        relayed = launch and launch.tee.report.measurement in policy.relayed_measurements
        judged = policy.require_fresh_report or policy.pod_boot_rules is not None
        failures.require(not (judged or relayed), "tee.fresh.missing", "no fresh TEE report")
        return None
    boot_log = sha256(evidence.boot_log).digest()
    ima_log = binding.ima_log_digest(evidence.ima_log, evidence.ima_prefix)
    expected = binding.fresh_report_data(
        nonce,
        evidence.quote.attest,
        boot_log,
        ima_log,
        fresh.event_log,
        evidence.launch_report.event_log if evidence.launch_report else b"",
    )
    trust = check_tee(fresh, expected, "tee.fresh.binding", context)
    if trust is not None and launch is not None:
        new, old = trust.report, launch.tee.report
        failures.require(
            (new.tee, new.chip, new.platform, new.key)
            == (old.tee, old.chip, old.platform, old.key),
            "tee.fresh.identity",
            f"launched on chip {old.chip!r}, fresh report of {new.chip!r}, or of another vTPM",
        )
    return trust


def check_launch_policy(trust: TeeTrust, context: Context) -> None:
    """Measurement, guest policy and kind of root of a vTPM service against the policy."""
    policy = context.policy
    accepted = policy.accepted_measurements + policy.relayed_measurements
    _check_tee_policy(trust, accepted, "tee.measurement", policy.service_boot_rules, context)


def check_platform(launch: Launch, context: Context) -> None:
    """Chip and hardware TPM must be of one machine: nothing in either names the other."""
    chips, chip = context.policy.platforms, launch.tee.report.chip
    if not chips or not launch.tee.bound:
        return
    context.failures.require(
        chip in chips.get(launch.host, ()),
        "chain.host.chip",
        f"host {launch.host!r} with chip {chip!r}",
    )


def check_fresh_policy(trust: TeeTrust, context: Context) -> None:
    """The same of the guest that a fresh report is about."""
    policy = context.policy
    accepted, rules = policy.pod_measurements, policy.pod_boot_rules
    _check_tee_policy(trust, accepted, "tee.fresh.measurement", rules, context)


def _check_tee_policy(
    trust: TeeTrust,
    accepted: tuple[bytes, ...],
    failure_id: str,
    boot_rules: BootRules | None,
    context: Context,
) -> None:
    """An unbound report is left alone: in CSV's first format, only the binding pins its fields."""
    policy, failures = context.policy, context.failures
    failures.require(
        trust.root.kind == "real" or policy.accept_emulated,
        "tee.root.emulated",
        f"root {trust.root.name!r} is emulated and accept_emulated is off",
    )
    if not trust.bound:
        return
    report = trust.report
    failures.require(
        report.measurement in accepted,
        failure_id,
        f"measurement {report.measurement.hex()} is not accepted",
    )
    verifier = tee.verifiers()[report.tee]
    for broken, detail in verifier.check_rules(report, policy.rules_by_tee[report.tee]):
        failures.add(broken, detail)
    _check_events(trust, boot_rules, context)


def _check_events(trust: TeeTrust, rules: BootRules | None, context: Context) -> None:
    """Rules are for reports with such registers: what others measured is in the measurement."""
    log, registers = trust.event_log, trust.report.rtmrs
    if not log:
        required = rules is not None and len(registers) == ccel.RTMRS
        context.failures.require(
            not required, "tee.events.missing", "no log explains the report's registers"
        )
        return
    whose = b"pod" if rules is context.policy.pod_boot_rules else b"service"
    key = hash_of("cc events", log, *registers, context.policy.digest.encode(), whose)
    for problem in context.memo(key, lambda: check_ccel(log, registers, rules)):
        context.failures.add(problem.id, f"CC event log: {problem.detail}")


def trust_kind(trusts: list[TeeTrust]) -> TrustKind:
    """The weakest kind of the reports that are signed and bound."""
    kinds = {trust.root.kind for trust in trusts if trust.bound}
    if not kinds:
        return "none"
    return "emulated" if "emulated" in kinds else "real"


def _check_instance(claims: LaunchClaims, chain: Chain, failures: FailureList) -> None:
    expected = (binding.INSTANCE_URI_PREFIX + claims.instance,)
    failures.require(
        chain.leaf.names == expected,
        "chain.ak.instance",
        f"certificate for {chain.leaf.names}, claims for {expected}",
    )


def _check_host(claims: LaunchClaims, chain: Chain, failures: FailureList) -> str:
    """The host's name, "" when its certificate has none."""
    host = chain.issuers[0].host
    if host is None:
        failures.add("chain.host", "the issuer's certificate names no host")
        return ""
    failures.require(
        hmac.compare_digest(host.ak_name, claims.host_ak_name),
        "chain.host.key",
        f"host key {host.ak_name.hex()}, claims name {claims.host_ak_name.hex()}",
    )
    return host.host
