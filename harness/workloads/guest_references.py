"""What a verifier of a guest accepts: boot events, programs, containers. All values are SHA-256."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from harness.framework.evidence import ima_log
from harness.workloads.guest_plan import ARMS

if TYPE_CHECKING:  # the verifier takes a while to load, and few guests are verified
    from harness.framework.verify import Policy

INIT = "/init"
# The agent mounts the containers' images there, in the order of their devices.
_IMAGE_ROOTS = ("/images/1", "/images/2")
# What the agent makes at run time: the same bytes in every boot, since the agent decides them.
_GENERATED = "/data/demo/bin/app4"

Digests = dict[str, tuple[bytes, ...]]


class References(msgspec.Struct, frozen=True):
    """Reference values of one unified kernel image and the images beside it.

    ``agent``: digest of /init; ``image``: digests of the containers' files by their path;
    ``generated``: of files that the agent makes; ``boot``: event digests by PCR, None in the boot
    that finds them out.
    """

    agent: bytes
    image: dict[str, bytes]
    generated: dict[str, bytes] = {}
    boot: dict[int, tuple[bytes, ...]] | None = None


def generated_files(log: bytes) -> dict[str, bytes]:
    """Digests of the files that the agent makes, from the list of a reference boot.

    Raises ParseError.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at < len(log):
        entry, at = ima_log.parse_entry(log, at)
        if entry.path == _GENERATED and not entry.violation:
            found[entry.path] = entry.digest
    return found


def measured_policy(policy: "Policy", references: References, arm_kind: str) -> "Policy":
    """``policy`` with the reference values; only the patched kernel tells containers apart."""
    from harness.framework.verify import ContainerRules

    host: Digests = {INIT: (references.agent,)}
    for root in _IMAGE_ROOTS:
        host |= _single({root + path: digest for path, digest in references.image.items()})
    host |= _single(references.generated)
    containers = _single(references.image)
    apart = ARMS[arm_kind].builtin_policy == "container"
    rules = ContainerRules(managers={INIT: (references.agent,)}, files=containers)
    return msgspec.structs.replace(
        policy,
        pcrs=tuple(range(12)),
        boot=references.boot,
        ima=host if apart else host | containers,
        containers=rules if apart else None,
    )


def _single(digests: Mapping[str, bytes]) -> Digests:
    return {path: (digest,) for path, digest in digests.items()}
