"""Attestations that a guest made, taken apart from what it sent; and what a verifier expects."""

import re
from collections import defaultdict
from typing import NamedTuple

from harness.framework.evidence import boot_event_log
from harness.framework.evidence.boot_event_log import ALG_SHA256, EV_NO_ACTION
from harness.framework.evidence.bundle import Quote
from harness.guest.machine.results import GuestOutputError, GuestResults

_PCR_LINE = re.compile(rb"sha256 ([0-9]{1,2}) ([0-9a-f]{64})")
_PER_ATTESTATION = ("quote.attest", "quote.signature", "pcrs", "boot_log", "ima_log")


class GuestAttestation(NamedTuple):
    """One answer to a nonce, as it came from the guest."""

    quote: Quote
    pcr_values: dict[int, bytes]
    boot_log: bytes
    ima_log: bytes


def attestations_of(results: GuestResults, expected: int) -> list[GuestAttestation]:
    """The attestations in order. Raises GuestOutputError unless each of ``expected`` is whole."""
    files = {name: results.named(name) for name in _PER_ATTESTATION}
    for name, contents in files.items():
        if len(contents) != expected:
            raise GuestOutputError(f"{len(contents)} files {name}, expected {expected}")
    return [
        GuestAttestation(Quote(attest, signature), parse_pcrs(pcrs), boot_log, ima_log)
        for attest, signature, pcrs, boot_log, ima_log in zip(*files.values(), strict=True)
    ]


def parse_pcrs(text: bytes) -> dict[int, bytes]:
    """PCR values from lines ``sha256 <pcr> <hex>``. Raises GuestOutputError."""
    values: dict[int, bytes] = {}
    for line in text.splitlines():
        match = _PCR_LINE.fullmatch(line)
        if match is None or int(match[1]) > 23 or int(match[1]) in values:
            raise GuestOutputError(f"malformed PCR line {line[:40]!r}")
        values[int(match[1])] = bytes.fromhex(match[2].decode())
    return values


def boot_references(boot_log: bytes) -> dict[int, tuple[bytes, ...]]:
    """The event digests of a boot by PCR: what every later boot of the same image may have.

    Raises ParseError.
    """
    found: dict[int, list[bytes]] = defaultdict(list)
    for event in boot_event_log.parse(boot_log):
        digest = event.digests.get(ALG_SHA256)
        if event.kind != EV_NO_ACTION and digest is not None and digest not in found[event.pcr]:
            found[event.pcr].append(digest)
    return {pcr: tuple(digests) for pcr, digests in sorted(found.items())}
