"""What every TEE's verifier answers, and the Protocol that it follows."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo


class TeeReport(msgspec.Struct, frozen=True):
    """A report whose signatures hold. It says nothing until ``report_data`` matches the binding.

    ``policy`` is the guest policy as the TEE defines its bits, ``chip`` the processor's identity,
    ``rtmrs`` the run-time measurement registers (empty where the format has none). ``platform`` is
    a hash of the chip's own certificate where nothing signs ``chip``. ``key`` is the
    SubjectPublicKeyInfo (DER) of a vTPM's attestation key that the report itself vouches for, as a
    paravisor's does, ``instance`` the name that it gives the vTPM. ``details`` are for the rules of
    the TEE that made them, see check_rules.
    """

    tee: str
    report_data: bytes
    measurement: bytes
    policy: int
    chip: str
    rtmrs: tuple[bytes, ...] = ()
    platform: bytes = b""
    key: bytes = b""
    instance: str = ""
    details: msgspec.Struct | None = None


class TeeVerificationError(FrameworkError):
    """Evidence of a TEE does not verify; ``failure`` is the dotted id."""

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail


class TeeVerifier(Protocol):
    """Checks one kind of TEE evidence, offline.

    ``failures`` says what each failure id means that only this kind has (``tee.<kind>.…``).
    ``rules_type`` is the form of the policy's section for this kind; its defaults are the strict
    ones. ``roots`` are the vendor's roots that come with the package, by the name that a policy
    gives them.
    """

    @property
    def tee(self) -> str:
        """The kind's name in evidence and policies."""

    @property
    def failures(self) -> Mapping[str, str]:
        """Failure ids of this kind, with what they mean."""

    @property
    def rules_type(self) -> type[msgspec.Struct]:
        """The policy's section for this kind."""

    @property
    def roots(self) -> Mapping[str, bytes]:
        """The vendor's roots that come with the package."""

    def is_root_of(self, evidence: TeeEvidence, root: bytes) -> bool:
        """Whether ``evidence`` names ``root`` as its own (by key id; nothing is verified).

        True for evidence that can't be read, so that :meth:`verify` says what is wrong with it.
        """

    def verify(
        self, evidence: TeeEvidence, root: bytes, rules: Any, now_s: float, memo: Memo
    ) -> TeeReport:
        """The report, if every signature from ``root`` down to it holds at ``now_s``.

        Raises:
            TeeVerificationError: the first check that failed.
        """

    def check_rules(self, report: TeeReport, rules: Any) -> Iterator[tuple[str, str]]:
        """Failure id and detail of each of ``rules`` that a bound report breaks."""


def check_bits(
    failure: str, what: str, value: int, required: int, forbidden: int
) -> Iterator[tuple[str, str]]:
    """``failure`` if ``value`` lacks one of the ``required`` bits or has one of the forbidden."""
    if value & required != required or value & forbidden:
        yield (
            failure,
            f"{what} {value:#x}, required bits {required:#x}, forbidden {forbidden:#x}",
        )
