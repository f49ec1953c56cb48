"""The pod's side of an attestation, the same code for every kind of TPM."""

from collections.abc import Callable
from typing import Any

from tpm2_pytss import ESAPI

from harness.framework.evidence.binding import quote_qualifier
from harness.framework.evidence.bundle import (
    EVIDENCE_VERSION,
    PARTIAL_VERSION,
    Evidence,
    Quote,
    encode_evidence,
)
from harness.framework.tpm import keys
from harness.framework.tpm.keys import TpmKey

QUOTED_PCRS = tuple(range(11))
Observer = Callable[[str], None]


def attest(
    ectx: ESAPI,
    ak: TpmKey,
    nonce: bytes,
    logs: tuple[bytes, bytes],
    proofs: Callable[[bytes], dict[str, Any]],
    observer: Observer | None = None,
    confirmation_key: bytes | None = None,
) -> bytes:
    """Evidence for ``nonce`` in wire form.

    ``logs`` are boot and IMA log; ``proofs`` gives, for the quote's TPMS_ATTEST, the fields of
    Evidence that a plain TPM does not have. ``observer`` hears each stage begin. The quote is
    bound to ``confirmation_key``, a public key of the pod's (P-256, SubjectPublicKeyInfo in DER).
    """
    begin = observer or _unobserved
    begin("quote")
    qualifier = quote_qualifier(nonce, confirmation_key)
    made, signature = keys.quote(ectx, ak.handle, qualifier, QUOTED_PCRS)
    values = keys.read_pcrs(ectx, QUOTED_PCRS)
    begin("report")
    more = {**proofs(made), "confirmation_key": confirmation_key}
    begin("logs")
    boot_log, ima_log = (bytes(log) for log in logs)
    begin("serialise")
    quote = Quote(made, signature)
    encoded = assemble(nonce, ak.public, quote, values, (boot_log, ima_log), more)
    begin("done")
    return encoded


def assemble(
    nonce: bytes,
    ak_public: bytes,
    quote: Quote,
    pcr_values: dict[int, bytes],
    logs: tuple[bytes, bytes],
    proofs: dict[str, Any],
) -> bytes:
    """Evidence in wire form; ``logs`` and ``proofs`` are as in :func:`attest`."""
    boot_log, ima_log = logs
    return encode_evidence(
        Evidence(
            version=PARTIAL_VERSION if proofs.get("ima_prefix") else EVIDENCE_VERSION,
            nonce=nonce,
            ak_public=ak_public,
            quote=quote,
            pcr_values=pcr_values,
            boot_log=boot_log,
            ima_log=ima_log,
            **proofs,
        )
    )


def _unobserved(_stage: str) -> None:
    """Nobody listens."""
