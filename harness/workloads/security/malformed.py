"""Hostile bytes: a typed error at the right place, in bounded time (row T28)."""

import struct
from collections.abc import Callable

import msgspec

from harness.framework.evidence.bundle import MAX_EVIDENCE_SIZE, encode_evidence
from harness.workloads.security.registry import Mounted, attack
from harness.workloads.security.world import World

_MAX_IMA_LOG = 27 * 1024 * 1024
# TCG_PCR_EVENT2 with both digests that claims 4 GiB of data.
_ENDLESS_EVENT = struct.pack("<IIIH20sH32sI", 4, 0xD, 2, 0x4, bytes(20), 0xB, bytes(32), 0xFFFFFFFF)


def _envelope(case: str, change: Callable[[bytes], bytes]) -> None:
    """Register changed bytes of the whole envelope."""

    def mount(world: World) -> Mounted:
        return world.against_clean(world.presented(change(encode_evidence(world.evidence))))

    attack("T28", case, "evidence")(mount)


_envelope("nothing-at-all", lambda _wire: b"")
_envelope("envelope-truncated", lambda wire: wire[: len(wire) // 2])
_envelope("bytes-after-the-envelope", lambda wire: wire + b"\0")
_envelope("envelope-too-large", lambda wire: wire.ljust(MAX_EVIDENCE_SIZE + 1, b"\0"))
_envelope("nested-arrays", lambda _wire: b"\x81" * 100_000)
_envelope("length-beyond-the-end", lambda _wire: b"\x5b" + b"\xff" * 8)
_envelope("indefinite-length", lambda wire: b"\xbf" + wire[1:] + b"\xff")
_envelope("key-twice", lambda wire: bytes([wire[0] + 1]) + wire[1:] + wire[1:20])


def _field(case: str, name: str, change: Callable[[bytes], bytes]) -> None:
    """Register changed bytes of one field."""

    def mount(world: World) -> Mounted:
        return world.edit(**{name: change(getattr(world.evidence, name))})

    attack("T28", case, "evidence")(mount)


_field("certificate-truncated", "ak_certificate", lambda der: der[:-9])
_field("certificate-of-garbage", "ak_certificate", lambda _der: b"\x30\x82\xff\xff" + bytes(64))
_field("key-truncated", "ak_public", lambda public: public[:-1])
_field("boot-log-torn", "boot_log", lambda log: log[:-1])
_field("boot-log-with-endless-event", "boot_log", lambda log: log + _ENDLESS_EVENT)
_field("boot-log-with-endless-banks", "boot_log", lambda log: log[:56] + b"\xff" * 4 + log[60:])
_field("ima-list-torn", "ima_log", lambda log: log[:-1])
_field("ima-list-too-large", "ima_log", lambda log: log.ljust(_MAX_IMA_LOG + 1, b"\0"))
_field("ima-list-with-endless-field", "ima_log", lambda log: log[:34] + b"\xff" * 4 + log[38:])
_field("ima-list-of-zeros", "ima_log", lambda _log: bytes(1 << 20))


@attack("T28", "report-truncated", "evidence")
def report_truncated(world: World) -> Mounted:
    """A TEE report that is shorter than its format."""
    report = world.evidence.launch_report
    assert report is not None
    return world.edit(launch_report=msgspec.structs.replace(report, report=report.report[:-1]))


@attack("T28", "report-of-an-unknown-tee", "evidence")
def report_of_unknown_tee(world: World) -> Mounted:
    """A report of a kind that nobody can check."""
    report = world.evidence.launch_report
    assert report is not None
    return world.edit(launch_report=msgspec.structs.replace(report, tee="sgx-on-paper"))


@attack("T28", "quote-truncated", "evidence")
def quote_truncated(world: World) -> Mounted:
    """A TPMS_ATTEST that ends early."""
    quote = world.evidence.quote
    return world.edit(quote=msgspec.structs.replace(quote, attest=quote.attest[:-1]))


@attack("T28", "signature-of-endless-number", "evidence")
def signature_of_endless_number(world: World) -> Mounted:
    """A TPMT_SIGNATURE whose number claims 65,535 bytes."""
    quote = world.evidence.quote
    signature = quote.signature[:4] + struct.pack(">H", 0xFFFF) + quote.signature[6:]
    return world.edit(quote=msgspec.structs.replace(quote, signature=signature))
