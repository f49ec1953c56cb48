"""What every TEE's verifier answers, and the Protocol that it follows."""

from typing import Protocol

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo


class TeeReport(msgspec.Struct, frozen=True):
    """A report whose signatures hold. It says nothing until ``report_data`` matches the binding.

    ``policy`` is the guest policy as the TEE defines its bits, ``chip`` the processor's identity,
    ``rtmrs`` the run-time measurement registers (empty where the format has none).
    """

    tee: str
    report_data: bytes
    measurement: bytes
    policy: int
    chip: str
    rtmrs: tuple[bytes, ...] = ()


class TeeVerificationError(FrameworkError):
    """Evidence of a TEE does not verify; ``failure`` is the dotted id."""

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail


class TeeVerifier(Protocol):
    """Checks one kind of TEE evidence."""

    def verify(self, evidence: TeeEvidence, root: bytes, memo: Memo) -> TeeReport:
        """The report, if every signature from ``root`` down to it holds.

        Raises:
            TeeVerificationError: the first check that failed.
        """

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """Whether ``evidence`` names ``root`` as its own (by key id; nothing is verified)."""
