"""What evidence must answer, and where its instance stood before."""

import msgspec

from harness.framework.errors import PolicyError
from harness.framework.evidence.bundle import MAX_NONCE, MIN_NONCE
from harness.framework.verify.known_list import KnownList


class Previous(msgspec.Struct, frozen=True):
    """Where an instance stood in its last accepted evidence.

    ``clock`` is the TPM's, in ms. ``ak_name``: TPM Name of its key; ``issued_s``: when that
    evidence's challenge was issued. Both are empty when they aren't known, and aren't checked then.
    ``known`` is where its list goes on, None where it must come whole.
    """

    reset_count: int
    restart_count: int
    clock: int
    ima_entries: int
    ak_name: bytes = b""
    issued_s: float = 0.0
    known: KnownList | None = None


class Challenge(msgspec.Struct, frozen=True):
    """What the evidence must answer. Times are seconds of the verifier's clock."""

    nonce: bytes
    issued_s: float
    expires_s: float
    previous: Previous | None = None

    def __post_init__(self) -> None:
        if not MIN_NONCE <= len(self.nonce) <= MAX_NONCE:
            raise PolicyError(
                f"challenge nonce of {len(self.nonce)} bytes, expected {MIN_NONCE} to {MAX_NONCE}"
            )
