"""Checks of the vTPM's quote, and of the host TPM's quote behind it."""

import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.framework.errors import ParseError
from harness.framework.evidence import binding, confirmation, quote, tpm_public
from harness.framework.evidence.bundle import Evidence, Quote
from harness.framework.evidence.quote import QuoteInfo
from harness.framework.evidence.tpm_public import PublicArea, Signature
from harness.framework.verify.chain import Chain
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList


class CheckedQuote(NamedTuple):
    """What a quote says; ``trusted`` says that signature, nonce and PCR values all hold."""

    info: QuoteInfo
    trusted: bool


def check_quote(
    evidence: Evidence, public: PublicArea, nonce: bytes, context: Context
) -> CheckedQuote | None:
    """Check signature, kind, nonce, selection and PCR values of the vTPM's quote."""
    failures = context.failures
    before = len(failures.found)
    attest = evidence.quote.attest
    signature = _signature(evidence.quote, "quote.format", failures)
    if signature is not None:
        # Before anything in it is read.
        failures.require(
            tpm_public.scheme_allowed(public, signature)
            and tpm_public.verify_signature(public.key, attest, signature),
            "quote.signature",
            "not the attestation key's",
        )
    info = _parse(attest, failures)
    if info is None or signature is None:
        return None
    expected = binding.quote_qualifier(nonce, evidence.confirmation_key)
    if not hmac.compare_digest(info.extra_data, expected):
        what = f"qualifying data {info.extra_data.hex()} are not this challenge's"
        failures.add("quote.nonce", what)
    _check_confirmation(evidence.confirmation_key, context)
    _check_pcrs(evidence.pcr_values, info, signature, context)
    return CheckedQuote(info, len(failures.found) == before)


def check_deep_quote(
    evidence: Evidence, nonce: bytes, chain: Chain | None, context: Context
) -> None:
    """Check the host TPM's quote, if there is one or must be one.

    It is signed by the key that issued the AK certificate, and bound to the vTPM's quote.
    """
    deep, failures = evidence.deep_quote, context.failures
    if deep is None:
        failures.require(
            not context.policy.require_deep_quote,
            "quote.deep.missing",
            "no quote of the host's TPM",
        )
        return
    signature = _signature(deep, "quote.deep.format", failures)
    try:
        info = quote.parse_quote(deep.attest)
    except ParseError as error:
        failures.add("quote.deep.format", str(error))
        return
    if signature is None:
        return
    key = chain.issuers[0].certificate.public_key() if chain else None
    signed = isinstance(
        key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    ) and tpm_public.verify_signature(key, deep.attest, signature)
    failures.require(signed, "quote.deep.signature", "not the key's that issued the AK certificate")
    expected = binding.deep_quote_qualifier(nonce, evidence.quote.attest)
    failures.require(
        hmac.compare_digest(info.extra_data, expected),
        "quote.deep.nonce",
        "the host's quote is not about this quote and nonce",
    )


def _check_confirmation(key: bytes | None, context: Context) -> None:
    """A key that nobody can use would confirm nothing."""
    if key is None:
        required = context.policy.require_confirmation_key
        context.failures.require(not required, "quote.confirmation.missing", "no confirmation key")
        return
    try:
        confirmation.parse_key(key)
    except ParseError as error:
        context.failures.add("quote.confirmation.format", str(error))


def check_nonzero(pcr_values: dict[int, bytes], context: Context) -> None:
    """PCRs that a measured boot extends can't still be zero."""
    zero = [pcr for pcr in context.policy.nonzero_pcrs if not any(pcr_values.get(pcr, b""))]
    context.failures.require(not zero, "quote.pcr.zero", f"PCRs {zero} were never extended")


def _parse(attest: bytes, failures: FailureList) -> QuoteInfo | None:
    """The quote; None when it isn't one, which has its own failures."""
    try:
        return quote.parse_quote(attest)
    except ParseError as error:
        malformed = str(error)
    try:
        magic, kind = quote.attest_header(attest)
        if magic != quote.TPM_GENERATED:
            failures.add("quote.magic", f"magic {magic:#010x}, expected ff544347")
            return None
        if kind != quote.ST_ATTEST_QUOTE:
            failures.add("quote.type", f"type {kind:#06x}, expected 0x8018")
            return None
    except ParseError:
        pass  # too short even for these
    failures.add("quote.format", malformed)
    return None


def _signature(evidence: Quote, failure_id: str, failures: FailureList) -> Signature | None:
    try:
        return tpm_public.parse_signature(evidence.signature)
    except ParseError as error:
        failures.add(failure_id, str(error))
        return None


def _check_pcrs(
    values: dict[int, bytes], info: QuoteInfo, signature: Signature, context: Context
) -> None:
    failures = context.failures
    if len(info.selections) != 1 or info.selections[0].bank != tpm_public.ALG_SHA256:
        banks = [selection.bank for selection in info.selections]
        what = f"banks {[f'{bank:#06x}' for bank in banks]}, expected 0x000b (SHA-256) alone"
        failures.add("quote.pcr.bank", what)
        return
    quoted = info.selections[0].pcrs
    missing = context.policy.required_pcrs.difference(quoted)
    if missing:
        failures.add("quote.pcr.selection", f"PCRs {sorted(missing)} are not quoted")
    # Canonical CBOR has them in order already.
    if tuple(values) != quoted and tuple(sorted(values)) != quoted:
        what = f"values for PCRs {sorted(values)}, quoted are {list(quoted)}"
        failures.add("quote.pcr.values", what)
        return
    try:
        digest = quote.pcr_digest([values[pcr] for pcr in quoted], signature.hash_id)
    except ParseError as error:
        failures.add("quote.pcr.values", str(error))
        return
    failures.require(
        hmac.compare_digest(digest, info.pcr_digest),
        "quote.pcr.values",
        "the values do not hash to the quoted digest",
    )
