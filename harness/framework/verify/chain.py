"""The certificate chain: authority → host's TPM key → vTPM's attestation key (RFC 5280 §6.1).

Written out instead of left to ``cryptography.x509.verification``, whose profile for the web refuses
attestation keys; what a check means here is on one page.
"""

from itertools import pairwise
from typing import NamedTuple

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import binding
from harness.framework.evidence.memo import Memo, hash_of
from harness.framework.verify import certificate as x509
from harness.framework.verify.certificate import CertificateFacts, RevocationFacts
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList


class Chain(NamedTuple):
    """The certificates of a chain, the leaf first; its root is one of the policy's.

    ``valid`` says that nothing is wrong with it; otherwise the failures say what.
    """

    leaf: CertificateFacts
    issuers: tuple[CertificateFacts, ...]
    valid: bool


def check_chain(leaf_der: bytes, issuer_ders: tuple[bytes, ...], context: Context) -> Chain | None:
    """Check everything about the certificates that does not depend on the rest of the evidence.

    None when a certificate can't be read or the evidence holds no issuer.

    Raises:
        PolicyError: a root or revocation list of the policy can't be read.
    """
    failures, memo = context.failures, context.memo
    before = len(failures.found)
    try:
        leaf = _parsed(leaf_der, memo)
    except ParseError as error:
        failures.add("chain.ak.format", str(error))
        return None
    try:
        issuers = tuple(_parsed(der, memo) for der in issuer_ders)
    except ParseError as error:
        failures.add("chain.issuer.format", str(error))
        return None
    if not failures.require(bool(issuers), "chain.issuer.missing", "no issuer certificate"):
        return None
    _check_leaf(leaf, failures)
    root = _root_of(issuers[-1], context)
    path = (leaf, *issuers) if root is None else (leaf, *issuers, root)
    if root is None:
        failures.add("chain.root", "no root of the policy issued the last certificate")
    for depth, fact in enumerate(path):
        _check_certificate(fact, depth, context.now_s, failures)
    for child, parent in pairwise((leaf, *issuers)):
        if not _issued(child, parent, memo):
            failures.add("chain.signature", f"{_describe(child)} is not signed by its issuer")
    _check_revocation(path, root, context)
    return Chain(leaf, issuers, len(failures.found) == before)


def _parsed(der: bytes, memo: Memo) -> CertificateFacts:
    return memo(hash_of("certificate", der), lambda: x509.parse_certificate(der))


def _issued(child: CertificateFacts, parent: CertificateFacts, memo: Memo) -> bool:
    key = hash_of("issued", child.sha256, parent.sha256)
    return memo(key, lambda: x509.is_issued_by(child, parent))


def _root_of(last: CertificateFacts, context: Context) -> CertificateFacts | None:
    """The policy's root that issued ``last``; its name alone does not make it one."""
    try:
        roots = [_parsed(der, context.memo) for der in context.policy.authority_roots]
    except ParseError as error:
        raise PolicyError(f"policy: authority_roots: {error}") from None
    named = (root for root in roots if root.subject == last.issuer)
    return next((root for root in named if _issued(last, root, context.memo)), None)


def _check_leaf(leaf: CertificateFacts, failures: FailureList) -> None:
    usage = leaf.usage
    right = (
        not leaf.is_ca
        and usage is not None
        and usage.digital_signature
        and not (usage.key_cert_sign or usage.crl_sign)
        and leaf.usage_critical
        and leaf.purposes == (binding.AIK_EKU_OID,)
    )
    failures.require(
        right,
        "chain.ak.usage",
        f"CA {leaf.is_ca}, purposes {leaf.purposes}; expected a signing key for "
        f"{binding.AIK_EKU_OID} alone",
    )


def _check_certificate(
    fact: CertificateFacts, depth: int, now_s: float, failures: FailureList
) -> None:
    """Checks of one certificate; ``depth`` is 0 for the leaf, 1 for its issuer and so on."""
    name = _describe(fact)
    failures.require(
        fact.not_before_s <= now_s <= fact.not_after_s,
        "chain.validity",
        f"{name} is valid from {fact.not_before_s:.0f} to {fact.not_after_s:.0f}, "
        f"it is {now_s:.0f}",
    )
    failures.require(
        fact.strong, "chain.algorithm", f"{name} uses a weak or unknown key or signature"
    )
    failures.require(
        not fact.not_understood,
        "chain.extension",
        f"{name} has critical extensions {', '.join(fact.not_understood)}",
    )
    if depth == 0:
        return
    may_issue = (
        fact.is_ca and fact.usage is not None and fact.usage.key_cert_sign and fact.usage_critical
    )
    failures.require(may_issue, "chain.issuer.usage", f"{name} may not issue certificates")
    failures.require(
        fact.path_length is None or fact.path_length >= depth - 1,
        "chain.issuer.length",
        f"{name} allows {fact.path_length} issuers below it, there are {depth - 1}",
    )


def _check_revocation(
    path: tuple[CertificateFacts, ...], root: CertificateFacts | None, context: Context
) -> None:
    failures = context.failures
    try:
        lists = [_parsed_list(der, context.memo) for der in context.policy.crls]
    except ParseError as error:
        raise PolicyError(f"policy: crls: {error}") from None
    for child, parent in pairwise(path):
        own = [facts for facts in lists if facts.issuer == parent.subject]
        if parent is root and context.policy.require_crl and not own:
            failures.add("chain.revocation.missing", f"no revocation list of {_describe(parent)}")
        for facts in own:
            _check_list(facts, parent, context)
            # An unsigned list can only make us refuse more, so it is asked all the same.
            if child.certificate.serial_number in facts.revoked:
                failures.add("chain.revoked", f"{_describe(child)} is revoked")


def _check_list(facts: RevocationFacts, issuer: CertificateFacts, context: Context) -> None:
    key = hash_of("revocation", facts.sha256, issuer.sha256)
    may_sign = issuer.usage is not None and issuer.usage.crl_sign and not facts.not_understood
    context.failures.require(
        may_sign and context.memo(key, lambda: x509.is_list_of(facts, issuer)),
        "chain.revocation.signature",
        f"the list of {_describe(issuer)} is not signed by it, or is of a kind not understood",
    )
    context.failures.require(
        facts.last_update_s <= context.now_s <= facts.next_update_s + context.policy.crl_grace_s,
        "chain.revocation.stale",
        f"the list of {_describe(issuer)} is for {facts.last_update_s:.0f} to "
        f"{facts.next_update_s:.0f}, it is {context.now_s:.0f}",
    )


def _parsed_list(der: bytes, memo: Memo) -> RevocationFacts:
    return memo(hash_of("revocation list", der), lambda: x509.parse_revocation_list(der))


def _describe(fact: CertificateFacts) -> str:
    return f"certificate {fact.certificate.serial_number:x}"
