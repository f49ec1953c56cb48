"""The attacks by name, and what an attack is made of."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from harness.framework.verify import FAILURES, Challenge, Policy
from harness.model.scenario import Mounting

if TYPE_CHECKING:
    from harness.workloads.security.world import World


class Presented(NamedTuple):
    """Evidence for a verifier, which judges it by ``policy`` at ``now_s`` (seconds since 1970)."""

    evidence: bytes
    policy: Policy
    challenge: Challenge
    now_s: float


class Attempted(NamedTuple):
    """Something that a part of the deployment must do, or refuse by raising an error.

    ``stage`` names that part; ``sent`` is how many bytes of evidence it is shown.
    """

    stage: str
    act: Callable[[], object]
    sent: int | None = None


Attempt = Presented | Attempted


class Mounted(NamedTuple):
    """An attack, and its twin: the same without the attack, which must be accepted."""

    attack: Attempt
    twin: Attempt


Mount = Callable[["World"], Mounted]


class Attack(NamedTuple):
    """A case of a row of docs/attacks.md."""

    row: str
    mounted: Mounting
    mount: Mount


ATTACKS: dict[str, Attack] = {}

# Where parts other than the verifier refuse; the verifier's own stages are in verify.STAGES.
OTHER_STAGES = ("issuance", "channel", "launch", "service", "tenant", "state", "device", "tpm")

# What parts other than the verifier answer, as ids. An answer that matches none counts as unknown.
REFUSALS: dict[str, str] = {
    "enrolment.manufacturer": "no manufacturer root issued it",
    "enrolment.key": "the EK certificate is for another TPM's key",
    "enrolment.residency": "credential activation failed",
    "issuance.attributes": "attestation key refused: (attributes|it can also decrypt)",
    "issuance.name": "attestation key refused: its Name does not match",
    "issuance.residency": "the attestation key is not in the vTPM it names",
    "issuance.claims": "launch claims are for another key",
    "channel.measurement": "channel peer: launch measurement .* is not accepted",
    "channel.nonce": "open without hello",
    "channel.key": "TLSV1_ALERT|the channel was closed",
    "service.challenge": "no such challenge is open",
    "launch.instance": "instance .* exists already",
    "state.rollback": "the host set it back",
    "state.key": "state was changed, belongs to another instance, or the key is another one",
    "device.processor": "the secure processor (cannot be reached|does not answer)",
    "device.tpm": "^tcti:",
    "tpm.ticket": "ticket",
}
UNKNOWN = "refused.unknown"


def attack(row: str, case: str, mounted: Mounting) -> Callable[[Mount], Mount]:
    """Register a function that mounts ``case``, with its honest word on how it does so."""

    def register(mount: Mount) -> Mount:
        if case in ATTACKS:
            raise ValueError(f"two attacks are named {case!r}")
        ATTACKS[case] = Attack(row, mounted, mount)
        return mount

    return register


def load_attacks() -> None:
    """Fill ATTACKS: import every module of this package, each of which registers its own."""
    from harness.workloads import security

    for module in pkgutil.iter_modules(security.__path__):
        importlib.import_module(f"{security.__name__}.{module.name}")


def refusal_ids(message: str) -> tuple[str, ...]:
    """The ids in a refusal: the verifier's own where the message has any, else of REFUSALS."""
    words = dict.fromkeys(re.findall(r"[a-z_]+(?:\.[a-z_0-9]+)+", message))
    if own := tuple(word for word in words if word in FAILURES):
        return own
    known = (name for name, pattern in REFUSALS.items() if re.search(pattern, message))
    return (next(known, UNKNOWN),)
