"""What a verification ends with."""

from typing import Literal

import msgspec

from harness.framework.verify.challenge import Previous
from harness.framework.verify.containers import Container
from harness.framework.verify.failures import Failure

TrustKind = Literal["real", "emulated", "none"]


class AttestationResult(msgspec.Struct, frozen=True):
    """Accepted exactly when ``failures`` is empty.

    ``trust_kind`` is the weakest TEE root that the evidence rests on (``none`` without a TEE).
    ``instance``, ``host``, ``host_key`` (the TPM Name of its AK), ``chip`` and ``measurement`` are
    empty unless their signatures and bindings hold. ``ima_entries`` is the length of the quoted
    prefix, 0 unless the quote holds. ``containers`` are those in it.
    ``state`` is what to hand to the next challenge as ``previous``, None unless accepted.
    ``confirmation_key`` (DER) is the attester's own that its quote is bound to; empty without one,
    and unless accepted.
    ``boot_judged``: the policy says what a boot may consist of, not only that its log must replay.
    ``stage`` of ``STAGES`` found the first failure; "" without one.
    """

    accepted: bool
    failures: tuple[Failure, ...]
    trust_kind: TrustKind
    instance: str
    host: str
    chip: str
    measurement: bytes
    ima_entries: int
    containers: tuple[Container, ...] = ()
    state: Previous | None = None
    host_key: bytes = b""
    confirmation_key: bytes = b""
    boot_judged: bool = False
    stage: str = ""

    def rejected(self, *failures: Failure) -> "AttestationResult":
        """This result, rejected for ``failures``: nothing in it may be relied on any more."""
        return msgspec.structs.replace(
            self, accepted=False, failures=failures, state=None, confirmation_key=b""
        )

    def has(self, failure_id: str) -> bool:
        """Whether ``failure_id`` is among the failures."""
        return any(failure.id == failure_id for failure in self.failures)
