"""IMA lists of a guest with containers, written from the format's description alone."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

ZERO, ONES = bytes(32), b"\xff" * 32
MANAGER = hashlib.sha256(b"kata-agent").digest()
MANAGER_PATH = "/usr/bin/kata-agent"


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def digest_of(path: str) -> bytes:
    """The digest that a file at ``path`` has unless a test says otherwise."""
    return sha(b"content of ", path.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Entry:
    """One measurement; ``domain`` is None outside of containers."""

    pcr: int
    template: str
    data: bytes
    domain: int | None = None
    violation: bool = False

    @property
    def raw(self) -> bytes:
        sha1 = bytes(20) if self.violation else hashlib.sha1(self.data).digest()
        head = struct.pack("<I20s", self.pcr, sha1)
        return head + sized(self.template.encode()) + sized(self.data)

    @property
    def extended(self) -> bytes:
        return ONES if self.violation else sha(self.data)


def file_data(path: str, digest: bytes, algorithm: bytes = b"sha256") -> bytes:
    return sized(algorithm + b":\0" + digest) + sized(
        path.encode("utf-8", "surrogateescape") + b"\0"
    )


@dataclass
class GuestList:
    """Builds a list entry by entry, and knows what the kernel would have extended."""

    entries: list[Entry] = field(default_factory=list)
    start: dict[int, bytes] = field(default_factory=dict)

    def add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        return entry

    def host(self, path: str, digest: bytes | None = None, *, violation: bool = False) -> Entry:
        data = file_data(path, digest or digest_of(path))
        return self.add(Entry(10, "ima-ng", data, violation=violation))

    def record(self, name: str, text: bytes) -> Entry:
        return self.add(Entry(10, "ima-buf", file_data(name, sha(text)) + sized(text)))

    def create(self, domain: int, name: str, mount: int = 0, manager: str | None = None) -> Entry:
        mount = mount or 4026532000 + domain % 1000
        manager = f"sha256:{MANAGER.hex()}" if manager is None else manager
        text = (
            f"id={domain} cid={name} cgroup=4026531835 mnt={mount} pid={mount + 100}"
            f" user=4026531837 manager={manager}"
        )
        return self.record("ns_create", text.encode())

    def run(
        self,
        domain: int,
        path: str,
        digest: bytes | None = None,
        *,
        mount: int = 0,
        violation: bool = False,
        algorithm: bytes = b"sha256",
    ) -> Entry:
        mount = mount or 4026532000 + domain % 1000
        spaces = struct.pack("<QIIII", domain, mount, mount + 100, 4026531837, 4026531835)
        data = file_data(path, digest or digest_of(path), algorithm) + sized(spaces)
        return self.add(Entry(11, "ima-ns", data, domain, violation))

    def sealed_text(self, change: Callable[[int, str], str] | None = None) -> bytes:
        lines = []
        for domain in dict.fromkeys(e.domain for e in self.entries if e.domain is not None):
            mine = [entry for entry in self.entries if entry.domain == domain]
            aggregate = ZERO
            for entry in mine:
                aggregate = sha(aggregate, entry.extended)
            broken = sum(entry.violation for entry in mine)
            line = f"{domain} {len(mine)} {broken} sha256:{aggregate.hex()}"
            lines.append((change(domain, line) if change else line) + "\n")
        return "".join(lines).encode()

    def seal(self, change: Callable[[int, str], str] | None = None) -> Entry:
        return self.record("ns_aggregate", self.sealed_text(change))

    @property
    def binary(self) -> bytes:
        return b"".join(entry.raw for entry in self.entries)

    def own(self, domain: int) -> bytes:
        return b"".join(entry.raw for entry in self.entries if entry.domain == domain)

    def pcr(self, number: int) -> bytes:
        value = self.start.get(number, ZERO)
        for entry in self.entries:
            if entry.pcr == number:
                value = sha(value, entry.extended)
        return value


def started(boot_pcrs: dict[int, bytes]) -> GuestList:
    """A guest that has booted and started its container manager."""
    guest = GuestList()
    guest.host("boot_aggregate", sha(*(boot_pcrs[pcr] for pcr in range(10))))
    guest.host("/init")
    guest.host(MANAGER_PATH, MANAGER)
    return guest


def demonstration(boot_pcrs: dict[int, bytes]) -> GuestList:
    """Two containers of one image: the list that every test changes.

    The host runs app1, and so do both; A runs app2 in a mount namespace nested in its own, and
    app3 is put into A by the manager (setns). B's mount namespace has the inode number of A's
    nested one, which is gone by then.
    """
    guest = started(boot_pcrs)
    guest.host("/bin/app1")
    guest.create(1, "pod-a")
    guest.run(1, "/bin/app1")
    guest.run(1, "/bin/app2", mount=4026532091)
    guest.run(1, "/bin/app3")
    guest.seal()
    guest.create(2, "pod-b", mount=4026532091)
    guest.run(2, "/bin/app1", mount=4026532091)
    guest.host("/bin/app4")
    guest.run(2, "/etc/conf", mount=4026532091)
    guest.seal()
    return guest
