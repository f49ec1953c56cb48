"""The rules for containers: who made each, what it may run, and that nothing of it is missing."""

from collections.abc import Mapping

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_domains
from harness.framework.evidence.ima_domains import OVERFLOW_DOMAIN, Aggregate, Creation
from harness.framework.evidence.ima_log import IMA_NS, ImaEntry
from harness.framework.evidence.ima_replay import Problem
from harness.framework.evidence.ima_walk import AllowedFiles, DomainList, DomainLists
from harness.framework.verify.policy import ContainerRules, Files


class Container(msgspec.Struct, frozen=True):
    """A container in the quoted prefix of a list; ``name`` is the kernel's, from its cgroup."""

    domain: int
    name: str
    entries: int
    unsealed: int


class Domain:
    """A container while its list is replayed; ``files`` is None where the policy has no list."""

    __slots__ = ("files", "measured", "name", "sealed")

    def __init__(self, name: str, files: Files | None, measured: DomainList) -> None:
        self.name = name
        self.files = files
        self.measured = measured
        self.sealed = 0

    def check_seal(self, sealed: Aggregate) -> Problem | None:
        """Hold a sealed line against the entries, and note how far it reaches."""
        if sealed.algorithm != "sha256":
            return Problem("ima.aggregate.hash", f"{self.name}: sealed with {sealed.algorithm}")
        if not self.sealed <= sealed.entries <= len(self.measured):
            return Problem(
                "ima.aggregate.mismatch",
                f"{self.name}: {sealed.entries} entries are sealed, the list has "
                f"{len(self.measured)}, and {self.sealed} were sealed before",
            )
        digest = self.measured.aggregate(sealed.entries)
        if digest != sealed.digest:
            return Problem(
                "ima.aggregate.mismatch",
                f"{self.name}: {sealed.entries} entries lead to {digest.hex()}, "
                f"sealed is {sealed.digest.hex()}",
            )
        self.sealed = sealed.entries
        if sealed.violations:
            return Problem("ima.violation", f"{self.name}: {sealed.violations} sealed violations")
        return None


class Managers:
    """The programs that may make containers, and which of them were measured so far."""

    def __init__(self, accepted: Mapping[str, tuple[bytes, ...]]) -> None:
        self._accepted = accepted
        self._digests = frozenset(digest for digests in accepted.values() for digest in digests)
        self._measured: set[bytes] = set()

    def is_one(self, entry: ImaEntry) -> bool:
        """Whether a host's file is an accepted manager; it then counts as measured."""
        if entry.algorithm != "sha256" or entry.digest not in self._accepted.get(entry.path, ()):
            return False
        self._measured.add(entry.digest)
        return True

    def check(self, made: Creation) -> Problem | None:
        """Whether an accepted program, measured before, made this container."""
        who = f"container {made.name!r} (domain {made.domain})"
        if made.algorithm != "sha256" or made.manager not in self._digests:
            what = made.manager.hex() or "a program that was not measured"
            return Problem("ima.manager.unknown", f"{who} was made by {what}")
        if made.manager not in self._measured:
            return Problem("ima.manager.unmeasured", f"{who}: no entry for {made.manager.hex()}")
        return None


class ContainerCheck:
    """Judges the entries of containers and the records about them, in the order of the list."""

    def __init__(self, rules: ContainerRules) -> None:
        self.pcr = rules.pcr
        self.lists = DomainLists()
        self.managers = Managers(rules.managers)
        self._rules = rules
        self._domains: dict[int, Domain] = {}

    def judge(self, entry: ImaEntry, where: str) -> Problem | None:
        """Why a container's entry isn't acceptable."""
        if entry.template != IMA_NS:
            return Problem("ima.entry.template", f"{where} has template {entry.template!r}")
        number = ima_domains.namespaces(entry).domain
        domain = self._domains.get(number)
        if domain is None:
            return Problem("ima.domain.unknown", f"{where} names domain {number}")
        domain.measured.add(entry.extended)
        return judge_file(entry, domain.files, f"{where} of container {domain.name!r}")

    def record(self, entry: ImaEntry) -> Problem | None:
        """Take up a record about containers; why it isn't acceptable."""
        try:
            if entry.path == ima_domains.CREATION:
                return self._create(ima_domains.parse_creation(entry))
            return self._seal(ima_domains.parse_aggregates(entry))
        except ParseError as error:
            return Problem("ima.domain.record", str(error))

    def containers(self) -> tuple[Container, ...]:
        """What was found, in the order of creation."""
        return tuple(
            Container(
                number, domain.name, len(domain.measured), len(domain.measured) - domain.sealed
            )
            for number, domain in self._domains.items()
        )

    def unsealed(self) -> list[Problem]:
        """Who has entries that no aggregate covers, if they are more than the policy allows."""
        found = [container for container in self.containers() if container.unsealed]
        if sum(container.unsealed for container in found) <= self._rules.max_unsealed:
            return []
        return [
            Problem(
                "ima.aggregate.missing"
                if container.unsealed == container.entries
                else "ima.aggregate.unsealed",
                f"{container.unsealed} of {container.entries} entries of {container.name!r} "
                f"(domain {container.domain}) are in no aggregate",
            )
            for container in found
        ]

    def _accepted_files(self, name: str) -> AllowedFiles | None:
        """What entries of a container of this name are accepted for, without :meth:`judge`."""
        return self._rules.table_of(name)

    def _create(self, made: Creation) -> Problem | None:
        if made.domain in self._domains:
            return Problem("ima.domain.duplicate", f"domain {made.domain} is created twice")
        measured = self.lists.add(made.domain, self._accepted_files(made.name))
        self._domains[made.domain] = Domain(made.name, self._rules.files_of(made.name), measured)
        if made.domain == OVERFLOW_DOMAIN:
            return Problem("ima.domain.overflow", "more containers than the kernel tells apart")
        return self.managers.check(made)

    def _seal(self, lines: Mapping[int, Aggregate]) -> Problem | None:
        for number, sealed in lines.items():
            domain = self._domains.get(number)
            if domain is None:
                return Problem("ima.domain.unknown", f"an aggregate names domain {number}")
            problem = domain.check_seal(sealed)
            if problem:
                return problem
        return None


def judge_file(entry: ImaEntry, files: Files | None, where: str) -> Problem | None:
    """Whether a container may use the file that ``entry`` is about."""
    if entry.violation:
        return Problem("ima.violation", f"{where} is a violation")
    if files is None:
        return Problem("ima.container.unknown", f"{where}: the policy has no list for it")
    if entry.algorithm != "sha256":
        return Problem("ima.entry.hash", f"{where} has a digest of {entry.algorithm!r}")
    if entry.path not in files:
        return Problem("ima.container.file", f"{where} is not in its list")
    if entry.digest not in files[entry.path]:
        return Problem("ima.container.digest", f"{where} has digest {entry.digest.hex()}")
    return None
