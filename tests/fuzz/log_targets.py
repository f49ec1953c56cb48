"""Boot logs, IMA lists and what is in them."""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from hashlib import sha256

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence import (
    boot_event_log,
    boot_events,
    bundle,
    ccel,
    ima_ascii,
    ima_domains,
    ima_log,
    ima_signature,
)
from harness.framework.verify import verify, verify_container_list
from harness.framework.verify.boot_rules import BootRule, BootRules, check_boot, check_ccel

from . import seeds
from .mutators import entry_mutator
from .target import Target, schemes_for

_BOOT_RULES = BootRules(
    (
        BootRule(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "db", any=True),
        BootRule(8, "EV_IPL", ".linux", texts=("quiet",), optional=True),
    )
)


def _boot_log(data: bytes) -> None:
    check_ccel(data, (bytes(48),) * ccel.RTMRS, _BOOT_RULES)
    with contextlib.suppress(ParseError):
        events = boot_event_log.parse(data)
        assert len(events) <= len(data) // 18
        boot_event_log.replay(events)
        list(check_boot(events, _BOOT_RULES))


def _boot_event(data: bytes) -> None:
    for parse in (boot_events.parse_variable, boot_events.disk_guid):
        with contextlib.suppress(ParseError):
            parse(data)


def _ima_log(data: bytes) -> None:
    at = 0
    with contextlib.suppress(ParseError):
        while at < len(data):
            entry, end = ima_log.parse_entry(data, at)
            assert at < end <= len(data)
            at = end
            if entry.template == ima_log.IMA_NS:
                ima_domains.namespaces(entry)
    shown = b""
    with contextlib.suppress(ParseError):
        shown = ima_log.redact(data, 11)
    assert len(shown) <= 6 * len(data)


def _ima_ascii(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        binary, at = ima_ascii.to_binary(data), 0
        while at < len(binary):
            _, at = ima_log.parse_entry(binary, at)


def _ima_signature(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        ima_signature.parse(data)
    ring = ima_signature.KeyRing()
    with contextlib.suppress(ParseError):
        key = ima_signature.load_key(data)
        ring = ima_signature.KeyRing(() if key is None else (key,))
    assert ring.problem(data, "sha256", bytes(32), "file") is not None


def _ima_records(data: bytes) -> None:
    entry = ima_log.ImaEntry(
        10, "ima-buf", "sha256", sha256(data).digest(), "record", data, bytes(32), False
    )
    for parse in (ima_domains.parse_creation, ima_domains.parse_aggregates):
        with contextlib.suppress(ParseError):
            parse(entry)


def _container_list(data: bytes) -> None:
    """The own list, then the redacted one, divided by a length."""
    split = int.from_bytes(data[:2])
    own, shown = data[2 : 2 + split], data[2 + split :]
    quoted = {10: bytes(32), 11: bytes(32)}
    verify_container_list(own, 1, shown, quoted, seeds.policy())


def _replay(data: bytes) -> None:
    """Replay of any list to the values that its first half leads to, found with the parser alone."""
    for scheme in schemes_for(data, seeds.lists()):
        values = list(_values(data, apart=scheme == "chain"))
        at = (len(values) + 1) // 2
        quoted = values[at] if at < len(values) else {10: b"\1" * 32, 11: bytes(32)}
        evidence = msgspec.structs.replace(
            seeds.small_evidence(), ima_log=data, pcr_values=seeds.pcr_values() | quoted
        )
        wire, policy = bundle.encode_evidence(evidence), seeds.policy(scheme)
        result = verify(wire, policy, seeds.challenge(), seeds.NOW_S)
        refused = result.has("ima.replay.mismatch") or result.has("ima.log.format")
        assert not data or refused == (at >= len(values)), f"{scheme}: another prefix"


def _values(data: bytes, *, apart: bool) -> Iterator[dict[int, bytes]]:
    """PCRs 10 and 11 after each entry; ``apart``: each entry extends its own, or none."""
    values, at = {10: bytes(32), 11: bytes(32)}, 0
    yield values
    with contextlib.suppress(ParseError):
        while at < len(data):
            entry, at = ima_log.parse_entry(data, at)
            pcr = entry.pcr if apart else 10
            if pcr in values:
                values = values | {pcr: sha256(values[pcr] + entry.extended).digest()}
            yield values


def _container_seeds() -> tuple[bytes, ...]:
    made = []
    for folder in sorted((seeds.DATA / "ima").iterdir()):
        own, shown = (folder / "own1").read_bytes(), (folder / "ima_log").read_bytes()
        made.append(len(own).to_bytes(2) + own + ima_log.redact(shown, 11))
    return tuple(made)


def _record_seeds() -> tuple[bytes, ...]:
    digest = "ab" * 32
    return (
        f"id=1 cid=pod cgroup=2 mnt=3 pid=4 user=5 manager=sha256:{digest}".encode(),
        f"1 2 0 sha256:{digest}\n2 1 1 sha256:{digest}\n".encode(),
    )


def _signature_seeds() -> tuple[bytes, ...]:
    """A file's signature, and keys as certificate and as PEM."""
    made = seeds.signature(b"")[6:]
    head = struct.pack(">BBBIH", 3, 2, 4, 7, len(made))
    return head + made, seeds.certificate(), seeds.public_pem(seeds.result_key())


def _boot_event_seeds() -> tuple[bytes, ...]:
    """A variable, and the header of a partition table."""
    name = "SecureBoot".encode("utf-16-le")
    variable = bytes(16) + struct.pack("<QQ", len(name) // 2, 1) + name + b"\1"
    return variable, b"EFI PART" + bytes(84)


LOG_TARGETS: Mapping[str, Target] = {
    "boot-log": Target(_boot_log, seeds.boot_logs, 16384),
    "boot-event": Target(_boot_event, _boot_event_seeds, 2048),
    "ima-log": Target(_ima_log, seeds.lists, 16384, entry_mutator),
    "ima-replay": Target(_replay, seeds.lists, 8192, entry_mutator),
    "ima-ascii": Target(_ima_ascii, seeds.text_lists, 4096),
    "ima-signature": Target(_ima_signature, _signature_seeds, 2048),
    "ima-records": Target(_ima_records, _record_seeds, 2048),
    "container-list": Target(_container_list, _container_seeds, 8192),
}
