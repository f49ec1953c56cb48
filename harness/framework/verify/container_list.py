"""What a container's tenant can verify alone, without seeing what other containers measured.

The tenant has the container's own list, and the guest's list with the entries of all containers
reduced to what they extend (``ima_log.redact``). That list still leads to the quoted PCRs, shows
the host's entries and the records about containers, and so proves that the own list is whole: the
sealed aggregates are in it, and only the kernel writes them.
"""

from collections.abc import Mapping

import msgspec

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import ima_domains, ima_log
from harness.framework.evidence.ima_domains import Aggregate
from harness.framework.evidence.ima_log import IMA_NS, REDACTED, ImaEntry
from harness.framework.evidence.ima_replay import Problem
from harness.framework.evidence.ima_walk import AllowedFiles
from harness.framework.verify.containers import Container, ContainerCheck, judge_file
from harness.framework.verify.failures import Failure, FailureList
from harness.framework.verify.measurements import replay_list
from harness.framework.verify.policy import ContainerRules, Policy


class ContainerListResult(msgspec.Struct, frozen=True):
    """Accepted exactly when ``failures`` is empty; ``container`` is None unless it was found."""

    accepted: bool
    failures: tuple[Failure, ...]
    container: Container | None


def verify_container_list(
    own: bytes,
    domain: int,
    redacted: bytes,
    quoted: dict[int, bytes],
    policy: Policy,
    start: Mapping[int, bytes] | None = None,
) -> ContainerListResult:
    """Verify the own list of container ``domain`` against ``redacted``, the guest's list.

    ``quoted`` are PCR values whose quote was verified; ``start`` those that the boot left (see
    ``boot_event_log.replay``), where it extended the containers' PCR. Entries that the own list
    has beyond the quoted ones are not looked at.

    Raises:
        PolicyError: the policy has no rules for containers.
    """
    if policy.containers is None:
        raise PolicyError("policy: containers is missing, so that no container is acceptable")
    failures = FailureList()
    try:
        entries = _own_entries(own, domain, policy.containers, failures)
        check = _TenantCheck(policy.containers, domain, entries)
        result = replay_list(redacted, quoted, dict(start or {}), policy, check)
    except ParseError as error:
        failures.add("ima.log.format", str(error))
        return ContainerListResult(False, tuple(failures.found), None)
    for problem in (*result.problems, *(check.unsealed() if result.matched else ())):
        failures.add(problem.id, problem.detail)
    if result.gave_up:
        failures.add(*result.why_given_up())
        return ContainerListResult(False, tuple(failures.found), None)
    failures.require(
        result.matched,
        "ima.replay.mismatch",
        f"none of the {result.entries} prefixes leads to the quoted PCR values",
    )
    found = next((c for c in check.containers() if c.domain == domain), None)
    failures.require(
        found is not None, "ima.domain.unknown", f"no record says that domain {domain} was made"
    )
    return ContainerListResult(not failures.found, tuple(failures.found), found)


def _own_entries(
    own: bytes, domain: int, rules: ContainerRules, failures: FailureList
) -> list[ImaEntry]:
    """The entries of the own list, which must all be the container's. Raises ParseError."""
    at, entries = 0, []
    while at < len(own):
        entry, at = ima_log.parse_entry(own, at)
        entries.append(entry)
        mine = entry.template == IMA_NS and entry.pcr == rules.pcr
        if not mine or ima_domains.namespaces(entry).domain != domain:
            what = f"entry {len(entries) - 1} ({entry.path!r}) is not of domain {domain}"
            failures.add("ima.container.list", what)
            break
    return entries


class _TenantCheck(ContainerCheck):
    """Knows the entries of one container and how many all of them have."""

    def __init__(self, rules: ContainerRules, domain: int, own: list[ImaEntry]) -> None:
        super().__init__(rules)
        self._domain = domain
        self._own = own
        self._next = 0
        self._entries = 0
        self._sealed_entries = 0

    def _accepted_files(self, name: str) -> AllowedFiles | None:  # noqa: ARG002 - as inherited
        """None: an entry that isn't redacted has no place in this list."""
        return None

    def judge(self, entry: ImaEntry, where: str) -> Problem | None:
        """Recognise an own entry by what it extends; others are only counted."""
        if entry.template != REDACTED:
            return Problem("ima.entry.template", f"{where} has template {entry.template!r}")
        self._entries += 1
        if self._next == len(self._own) or self._own[self._next].extended != entry.extended:
            return None
        own = self._own[self._next]
        domain = self._domains.get(self._domain)
        if domain is None:
            return Problem("ima.domain.unknown", f"{where} names domain {self._domain}")
        self._next += 1
        domain.measured.add(own.extended)
        return judge_file(own, domain.files, f"own entry {self._next - 1} ({own.path!r})")

    def unsealed(self) -> list[Problem]:
        """Entries that no aggregate counts may all be the tenant's, hidden from it."""
        hidden = self._entries - self._sealed_entries
        if hidden <= self._rules.max_unsealed:
            return []
        domain = self._domains.get(self._domain)
        name = "unsealed" if domain is not None and domain.sealed else "missing"
        return [Problem(f"ima.aggregate.{name}", f"{hidden} entries are in no aggregate")]

    def _seal(self, lines: Mapping[int, Aggregate]) -> Problem | None:
        self._sealed_entries = sum(line.entries for line in lines.values())
        domain, sealed = self._domains.get(self._domain), lines.get(self._domain)
        if domain is None or sealed is None:
            return None
        return domain.check_seal(sealed)
