"""IMA lists of guests with containers, as the kernel series writes them, and what they extend."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1, sha256

from harness.framework.evidence.ima_domains import AGGREGATES, CREATION
from harness.framework.evidence.ima_log import BOOT_AGGREGATE, IMA_NS, IMA_PCR

CONTAINER_PCR = 11
MANAGER = "/usr/bin/kata-agent"
_SPACES = 4026531835


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return sha256(data).digest()


def digest_of(path: str) -> bytes:
    """The digest of the file that belongs at ``path``."""
    return sha(b"content of " + path.encode())


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@dataclass(frozen=True)
class Entry:
    """One measurement; ``domain`` is 0 outside of containers."""

    pcr: int
    template: str
    data: bytes
    domain: int = 0

    @property
    def raw(self) -> bytes:
        """The entry in the binary list."""
        head = struct.pack("<I20s", self.pcr, sha1(self.data).digest())  # noqa: S324 - the format
        return head + _sized(self.template.encode()) + _sized(self.data)


def _file(path: str, digest: bytes) -> bytes:
    return _sized(b"sha256:\0" + digest) + _sized(path.encode() + b"\0")


@dataclass
class GuestList:
    """A guest's list, entry by entry."""

    entries: list[Entry] = field(default_factory=list)

    def host(self, path: str, digest: bytes | None = None) -> None:
        """A file that the guest itself used."""
        data = _file(path, digest or digest_of(path))
        self.entries.append(Entry(IMA_PCR, "ima-ng", data))

    def create(self, domain: int, name: str, manager: bytes | None = None) -> None:
        """A container is made, by the program with this digest."""
        made_by = (digest_of(MANAGER) if manager is None else manager).hex()
        text = (
            f"id={domain} cid={name} cgroup={_SPACES} mnt={_SPACES + domain} pid={_SPACES} "
            f"user={_SPACES} manager=sha256:{made_by}"
        )
        self._record(CREATION, text.encode())

    def run(self, domain: int, path: str, digest: bytes | None = None, mount: int = 0) -> None:
        """A container used a file; ``mount``: number of its mount namespace, default the usual."""
        spaces = (domain, mount or _SPACES + domain, _SPACES, _SPACES, _SPACES)
        data = _file(path, digest or digest_of(path)) + _sized(struct.pack("<QIIII", *spaces))
        self.entries.append(Entry(CONTAINER_PCR, IMA_NS, data, domain))

    def seal(self) -> None:
        """Record the aggregate of each container, as before a quote."""
        lines = []
        for domain in dict.fromkeys(entry.domain for entry in self.entries if entry.domain):
            own = [entry for entry in self.entries if entry.domain == domain]
            aggregate = bytes(32)
            for entry in own:
                aggregate = sha(aggregate + sha(entry.data))
            lines.append(f"{domain} {len(own)} 0 sha256:{aggregate.hex()}\n")
        self._record(AGGREGATES, "".join(lines).encode())

    def _record(self, name: str, text: bytes) -> None:
        data = _file(name, sha(text)) + _sized(text)
        self.entries.append(Entry(IMA_PCR, "ima-buf", data))

    @property
    def binary(self) -> bytes:
        """The list as the kernel shows it."""
        return b"".join(entry.raw for entry in self.entries)

    def own(self, domain: int) -> bytes:
        """The list that the container itself sees."""
        return b"".join(entry.raw for entry in self.entries if entry.domain == domain)

    @property
    def extends(self) -> tuple[tuple[int, bytes], ...]:
        """(PCR, SHA-256 digest) in order."""
        return tuple((entry.pcr, sha(entry.data)) for entry in self.entries)


def two_containers(
    boot_pcrs: dict[int, bytes],
    change: Callable[[GuestList], object] | None = None,
    after: Callable[[GuestList], object] | None = None,
) -> GuestList:
    """A guest that made pod-a and pod-b of one image.

    ``change`` does more before the seal, ``after`` behind it.
    """
    guest = GuestList()
    guest.host(BOOT_AGGREGATE, sha(b"".join(boot_pcrs[pcr] for pcr in range(10))))
    guest.host(MANAGER)
    guest.host("/bin/tool")
    guest.create(1, "pod-a")
    guest.run(1, "/bin/app")
    guest.run(1, "/lib/libapp.so")
    guest.create(2, "pod-b")
    guest.run(2, "/bin/app")
    guest.run(2, "/etc/app.conf")
    if change is not None:
        change(guest)
    guest.seal()
    if after is not None:
        after(guest)
    return guest
