"""Boot and IMA logs: cut, changed, or true to what must not have run (rows T10, T11 and T26)."""

import struct
from collections.abc import Callable
from hashlib import sha1, sha256

from harness.framework.evidence import boot_event_log, ima_log
from harness.workloads.logs import BootLog, ImaLog, pcrs_after, template_data
from harness.workloads.security.registry import Mounted, attack
from harness.workloads.security.world import World

_CHANGED = 7  # the entry that is edited
_VIOLATION = b"\xff" * 32
_EV_IPL = 0xD


def _events(log: bytes) -> list[bytes]:
    """The crypto-agile log taken apart: its header, then each event."""
    parts, at = [], 0
    for number, event in enumerate(boot_event_log.parse(log)):
        digests = 20 if number == 0 else 4 + sum(2 + len(d) for d in event.digests.values())
        end = at + 8 + digests + 4 + len(event.data)
        parts.append(log[at:end])
        at = end
    return parts


def _entries(log: bytes) -> list[bytes]:
    """The IMA list taken apart."""
    parts, at = [], 0
    while at < len(log):
        _, end = ima_log.parse_entry(log, at)
        parts.append(log[at:end])
        at = end
    return parts


def exchanged(ima: ImaLog) -> ImaLog:
    """The list of a guest that measured its last two files in the other order."""
    *parts, last, final = _entries(ima.binary)
    *hashes, one, two = ima.template_hashes_sha256
    return ImaLog(b"".join((*parts, final, last)), (*hashes, two, one), ima.allowed)


def _boot_edit(case: str, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Register an edit of the events (the header is the first)."""

    def mount(world: World) -> Mounted:
        return world.edit(boot_log=b"".join(edit(_events(world.evidence.boot_log))))

    attack("T10", case, "evidence")(mount)


def _swapped(parts: list[bytes]) -> list[bytes]:
    return [*parts[:1], parts[2], parts[1], *parts[3:]]


_boot_edit("boot-log-truncated", lambda parts: parts[:-1])
_boot_edit("boot-log-reordered", _swapped)
_boot_edit("boot-event-inserted", lambda parts: [*parts, parts[-1]])
_boot_edit("boot-event-omitted", lambda parts: [*parts[:5], *parts[6:]])
_boot_edit("boot-log-of-nothing", lambda parts: parts[:1])
_boot_edit("no-boot-log", lambda _parts: [])


def _other_event(row: str, case: str, pcr: int, what: bytes) -> None:
    """Register an event that was truly measured, but that nobody gave as a reference value."""

    def mount(world: World) -> Mounted:
        digest = sha256(what).digest()
        event = struct.pack("<IIIH20s", pcr, _EV_IPL, 2, 0x4, bytes(20))
        event += struct.pack("<H32sI", 0xB, digest, 0)
        boot = world.logs[0]
        boot = BootLog(boot.log + event, (*boot.extends, (pcr, digest)))
        aggregate = sha256(b"".join(pcrs_after(boot.extends)[pcr] for pcr in range(10))).digest()
        return _truly_measured(world, boot, _rebooted(world.logs[1], aggregate))

    attack(row, case, "deployment")(mount)


def _rebooted(ima: ImaLog, aggregate: bytes) -> ImaLog:
    """The list after another boot: its first entry has the hash of the PCRs."""
    data = template_data("boot_aggregate", aggregate)
    hashes = (sha256(data).digest(), *ima.template_hashes_sha256[1:])
    rest = ima.binary[len(_entries(ima.binary)[0]) :]
    return ImaLog(_entry(data) + rest, hashes, {})


_other_event("T10", "other-boot-loader", 4, b"another boot loader")
_other_event("T26", "init-data-changed", 8, b"init data with a weaker policy")


def _truly_measured(world: World, boot: BootLog, ima: ImaLog) -> Mounted:
    evidence = world.quoted(world.pod_with((boot, ima)), (boot.log, ima.binary))
    return world.against_clean(world.presented(evidence))


def _ima_edit(case: str, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Register an edit of the list; the quote is of what was truly measured."""

    def mount(world: World) -> Mounted:
        return world.edit(ima_log=b"".join(edit(_entries(world.evidence.ima_log))))

    attack("T11", case, "evidence")(mount)


def _with(change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda parts: [*parts[:_CHANGED], change(parts[_CHANGED]), *parts[_CHANGED + 1 :]]


def _claimed_violation(entry: bytes) -> bytes:
    return entry[:4] + bytes(20) + entry[24:]


def _other_digest(entry: bytes) -> bytes:
    """After PCR, SHA-1, name, size of data, size and algorithm: the file's digest."""
    at = 4 + 20 + 4 + 6 + 4 + 4 + 8
    return entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :]


def _other_path(entry: bytes) -> bytes:
    return entry[:-2] + bytes([entry[-2] ^ 1]) + entry[-1:]


def _other_template(entry: bytes) -> bytes:
    return entry.replace(b"ima-ng", b"ima-xy", 1)


_ima_edit("ima-list-truncated", lambda parts: parts[:-1])
_ima_edit("ima-list-reordered", lambda parts: [*parts[:3], parts[4], parts[3], *parts[5:]])
_ima_edit("ima-entry-inserted", lambda parts: [*parts[:5], parts[5], *parts[5:]])
_ima_edit("ima-entry-omitted", lambda parts: [*parts[:5], *parts[6:]])
_ima_edit("ima-digest-changed", _with(_other_digest))
_ima_edit("ima-path-changed", _with(_other_path))
_ima_edit("ima-violation-claimed", _with(_claimed_violation))
_ima_edit("ima-template-unknown", _with(_other_template))
_ima_edit("no-ima-list", lambda _parts: [])
_ima_edit("ima-list-without-start", lambda parts: parts[1:])


def _entry(data: bytes, template: bytes = b"ima-ng", *, violation: bool = False) -> bytes:
    digest = bytes(20) if violation else sha1(data).digest()  # noqa: S324 - the format has it
    head = struct.pack("<I20sI", 10, digest, len(template)) + template
    return head + (b"" if template == b"ima" else struct.pack("<I", len(data))) + data


def _measured(case: str, row: str, make: Callable[[World], tuple[bytes, bytes]]) -> None:
    """Register an entry, and what it extends, that the kernel truly recorded."""

    def mount(world: World) -> Mounted:
        ima = world.logs[1]
        entry, extended = make(world)
        hashes = (*ima.template_hashes_sha256, extended)
        return _truly_measured(world, world.logs[0], ImaLog(ima.binary + entry, hashes, {}))

    attack(row, case, "deployment")(mount)


def _known_file(digest: bytes, algorithm: bytes) -> Callable[[World], tuple[bytes, bytes]]:
    """A file that the policy knows, with another digest."""

    def make(world: World) -> tuple[bytes, bytes]:
        path = next(iter(world.logs[1].allowed)).encode()
        fields = (algorithm + b":\0" + digest, path + b"\0")
        data = b"".join(struct.pack("<I", len(value)) + value for value in fields)
        return _entry(data), sha256(data).digest()

    return make


def _old_template(_world: World) -> tuple[bytes, bytes]:
    """The template "ima" hashes the path in a buffer of 256 bytes."""
    digest, path = bytes(range(20)), b"/init"
    shown = digest + struct.pack("<I", len(path)) + path
    return _entry(shown, b"ima"), sha256(digest + path.ljust(256, b"\0")).digest()


def _violation(_world: World) -> tuple[bytes, bytes]:
    return _entry(template_data("/usr/bin/open", bytes(32)), violation=True), _VIOLATION


_measured("ima-violation", "T11", _violation)
_measured("ima-file-not-hashed", "T11", _known_file(bytes(32), b"sha256"))
_measured("ima-sha1-digest", "T11", _known_file(bytes(range(20)), b"sha1"))
_measured("ima-old-template", "T11", _old_template)
