"""The pod's side of an attestation, the same code for every kind of TPM."""

from collections.abc import Callable
from typing import Any

from tpm2_pytss import ESAPI

from harness.framework.evidence.binding import quote_qualifier
from harness.framework.evidence.bundle import EVIDENCE_VERSION, Evidence, Quote, encode_evidence
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
) -> bytes:
    """Evidence for ``nonce`` in wire form.

    ``logs`` are boot and IMA log; ``proofs`` gives, for the quote's TPMS_ATTEST, the fields of
    Evidence that a plain TPM does not have. ``observer`` hears each stage begin.
    """
    begin = observer or _unobserved
    begin("quote")
    made, signature = keys.quote(ectx, ak.handle, quote_qualifier(nonce), QUOTED_PCRS)
    values = keys.read_pcrs(ectx, QUOTED_PCRS)
    begin("report")
    more = proofs(made)
    begin("logs")
    boot_log, ima_log = (bytes(log) for log in logs)
    begin("serialise")
    encoded = encode_evidence(
        Evidence(
            version=EVIDENCE_VERSION,
            nonce=nonce,
            ak_public=ak.public,
            quote=Quote(made, signature),
            pcr_values=values,
            boot_log=boot_log,
            ima_log=ima_log,
            **more,
        )
    )
    begin("done")
    return encoded


def _unobserved(_stage: str) -> None:
    """Nobody listens."""
