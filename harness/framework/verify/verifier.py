"""The verifier: a pure function from evidence, policy, challenge and time to a result."""

import hmac
from collections.abc import Callable
from hashlib import sha256

from harness.framework.errors import ParseError
from harness.framework.evidence import bundle, tpm_public
from harness.framework.evidence.boot_event_log import BootEvent
from harness.framework.evidence.bundle import Evidence
from harness.framework.evidence.memo import forgetful, hash_of
from harness.framework.evidence.tpm_public import PublicArea
from harness.framework.verify import launch as launches
from harness.framework.verify import measurements, progress, quotes
from harness.framework.verify.cache import VerificationCache
from harness.framework.verify.chain import Chain, check_chain
from harness.framework.verify.challenge import Challenge, Previous
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.known_list import KnownList
from harness.framework.verify.launch import Launch, TeeTrust
from harness.framework.verify.measurements import MeasuredList
from harness.framework.verify.policy import Policy
from harness.framework.verify.quotes import CheckedQuote
from harness.framework.verify.result import AttestationResult

# As a TPM Name begins that is made with SHA-256.
_SHA256_NAME = tpm_public.ALG_SHA256.to_bytes(2)
STAGES = ("decode", "chain", "quote_check", "replay", "policy", "done")


def verify(
    evidence: bytes,
    policy: Policy,
    challenge: Challenge,
    now_s: float,
    cache: VerificationCache | None = None,
    *,
    observer: Callable[[str], None] | None = None,
) -> AttestationResult:
    """Judge ``evidence`` at ``now_s`` (seconds since 1970); every failure is collected.

    ``observer`` is told when each stage of :data:`STAGES` begins. ``cache`` makes what was seen
    before cheap and changes no answer. Whether a nonce was used before is for the caller to know:
    issue each one once, and forget it when it is answered.

    Raises:
        PolicyError: a root or revocation list of the policy can't be read.
    """
    failures = FailureList()

    def begin(stage: str) -> None:
        failures.stage = stage
        if observer is not None:
            observer(stage)

    context = Context(policy, now_s, cache.memo if cache else forgetful, failures)
    begin("decode")
    try:
        decoded = bundle.decode_evidence(evidence)
    except ParseError as error:
        failures.add("envelope.format", str(error))
        begin("done")
        return _result(context, _Findings(), challenge, b"")
    findings = _Findings()
    begin("chain")
    public = findings.key = _check_key(decoded, challenge, findings, context)
    begin("quote_check")
    if public is not None:
        findings.quote = quotes.check_quote(decoded, public, challenge.nonce, context)
    if policy.scheme != "allow-list":
        quotes.check_deep_quote(decoded, challenge.nonce, findings.chain, context)
    begin("replay")
    events = measurements.replay_boot_log(decoded.boot_log, decoded.pcr_values, context)
    findings.ima = _replay_ima(decoded, events, challenge, public, cache, context)
    begin("policy")
    _check_policy(decoded, events, findings, context)
    _check_freshness(decoded, challenge, findings, context)
    if cache and not failures.found:
        _keep_list(decoded, findings, policy, cache)
    begin("done")
    return _result(context, findings, challenge, decoded.confirmation_key or b"")


class _Findings:
    """What the stages found, each None until its signatures could be checked."""

    def __init__(self) -> None:
        self.key: PublicArea | None = None
        self.chain: Chain | None = None
        self.launch: Launch | None = None
        self.fresh: TeeTrust | None = None
        self.quote: CheckedQuote | None = None
        self.ima = MeasuredList()

    def tees(self) -> list[TeeTrust]:
        """The TEE reports whose signatures hold."""
        reports = (self.launch.tee if self.launch else None, self.fresh)
        return [report for report in reports if report is not None]


def _check_policy(
    evidence: Evidence, events: list[BootEvent], findings: _Findings, context: Context
) -> None:
    measurements.check_boot_events(evidence.boot_log, events, context)
    quotes.check_nonzero(evidence.pcr_values, context)
    if findings.launch is not None:
        launches.check_launch_policy(findings.launch.tee, context)
        launches.check_platform(findings.launch, context)
    if findings.fresh is not None:
        launches.check_fresh_policy(findings.fresh, context)


def _keep_list(
    evidence: Evidence, findings: _Findings, policy: Policy, cache: VerificationCache
) -> None:
    """Remember an accepted list that was sent whole."""
    key, end = findings.key, findings.ima.end
    if key is not None and end is not None and evidence.ima_prefix is None:
        cache.lists.keep(key.name, evidence.ima_log, KnownList(policy.digest, end))


def _check_key(
    evidence: Evidence, challenge: Challenge, findings: _Findings, context: Context
) -> PublicArea | None:
    """Whether the attestation key is to be trusted; the key itself even if it isn't."""
    raw, failures = evidence.ak_public, context.failures
    try:
        public = context.memo(hash_of("public", raw), lambda: tpm_public.parse_public(raw))
    except ParseError as error:
        failures.add("chain.ak.public", str(error))
        return None
    launches.check_attributes(public, failures)
    if context.policy.scheme == "allow-list":
        known = any(
            hmac.compare_digest(public.name, name) for name in context.policy.accepted_ak_names
        )
        failures.require(known, "chain.ak.unknown", f"key {public.name.hex()} is not allowed")
        return public
    if context.policy.scheme == "paravisor":
        findings.launch = launches.check_paravisor(evidence, public, context)
        # The report vouches for the key alone: whatever else makes up a TPM Name proves nothing.
        public = public._replace(name=_SHA256_NAME + sha256(public.spki).digest())
    elif evidence.ak_certificate is None:
        failures.add("chain.ak.missing", "no certificate for the attestation key")
    else:
        findings.chain = check_chain(evidence.ak_certificate, evidence.issuer_chain, context)
    if findings.chain is not None:
        failures.require(
            findings.chain.leaf.spki == public.spki,
            "chain.ak.key",
            "the certificate is for another key",
        )
        findings.launch = launches.check_launch(evidence, findings.chain, public, context)
    findings.fresh = launches.check_fresh_report(
        evidence, challenge.nonce, findings.launch, context
    )
    return public


def _replay_ima(
    evidence: Evidence,
    events: list[BootEvent],
    challenge: Challenge,
    public: PublicArea | None,
    cache: VerificationCache | None,
    context: Context,
) -> MeasuredList:
    """Replay the list, from where it is known on: what the cache saw, or the caller stored."""
    prefix, log = evidence.ima_prefix, evidence.ima_log
    stored = challenge.previous.known if challenge.previous else None
    known = None
    if prefix is not None:
        known = progress.goes_on_from(prefix, stored)
    elif cache is not None and public is not None:
        known = cache.lists.find(context.policy.digest, public.name, log)
    before = stored.end if stored else None
    return measurements.replay_ima_log(
        log, evidence.pcr_values, events, context, known, before, whole=prefix is None
    )


def _check_freshness(
    evidence: Evidence, challenge: Challenge, findings: _Findings, context: Context
) -> None:
    failures, now_s = context.failures, context.now_s
    failures.require(
        hmac.compare_digest(evidence.nonce, challenge.nonce),
        "freshness.nonce",
        "the evidence answers another challenge",
    )
    failures.require(
        now_s <= challenge.expires_s,
        "freshness.expired",
        f"the challenge expired at {challenge.expires_s:.0f}, it is {now_s:.0f}",
    )
    failures.require(
        challenge.issued_s <= now_s,
        "freshness.future",
        f"the challenge was issued at {challenge.issued_s:.0f}, it is {now_s:.0f}",
    )
    previous = challenge.previous
    if findings.quote is None or findings.key is None or previous is None:
        return
    ima = findings.ima
    entries = None if ima.gave_up else ima.entries
    now = progress.Standing(findings.key.name, findings.quote.info, entries, ima.continues)
    for failure in progress.check(previous, now, now_s, accept_reset=context.policy.accept_reset):
        failures.add(failure.id, failure.detail)


def _result(
    context: Context, findings: _Findings, challenge: Challenge, confirmation_key: bytes
) -> AttestationResult:
    found = tuple(context.failures.found)
    launch, quote = findings.launch, findings.quote
    named = launch is not None and launch.valid
    report = launch.tee.report if launch is not None and launch.tee.bound else None
    trusted = quote is not None and quote.trusted
    state = None
    if quote is not None and findings.key is not None and not found:
        info, name, end = quote.info, findings.key.name, findings.ima.end
        state = Previous(
            info.reset_count, info.restart_count, info.clock, findings.ima.entries,
            name, challenge.issued_s, KnownList(context.policy.digest, end) if end else None,
        )  # fmt: skip
    return AttestationResult(
        accepted=not found,
        failures=found,
        trust_kind=launches.trust_kind(findings.tees()),
        instance=launch.instance if launch and named else "",
        host=launch.host if launch and named else "",
        chip=report.chip if report else "",
        measurement=report.measurement if report else b"",
        ima_entries=findings.ima.entries if trusted else 0,
        containers=findings.ima.containers if trusted else (),
        state=state,
        host_key=launch.host_key if launch and named else b"",
        confirmation_key=b"" if found else confirmation_key,
        boot_judged=context.policy.boot is not None or context.policy.boot_rules is not None,
        stage=context.failures.first_stage,
    )
