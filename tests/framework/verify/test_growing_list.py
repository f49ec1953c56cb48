"""Quotes taken while the list grows (attack T12), and lists that go back (T13)."""

import hashlib
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.evidence import binding
from harness.framework.evidence.bundle import encode_evidence
from harness.framework.verify import AttestationResult, Policy, Previous, VerificationCache, verify

from .guest_list import GuestList, demonstration
from .test_containers import guest_evidence, guest_policy, rules
from .test_measurements import split
from .world import NOW, World, attest, ids

# When each of a run's quotes was taken, and how much later its list was read (in entries).
MOMENTS = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 8)), min_size=2, max_size=6)


class Machine:
    """A machine that measures on while it is quoted, with or without containers."""

    def __init__(self, world: World, *, containers: bool) -> None:
        self.world, self.containers = world, containers
        self.guest = demonstration(world.pcrs)
        self.entries = split(world.ima.binary)
        self.size = len(self.guest.entries) if containers else len(self.entries)

    def policy(self) -> Policy:
        if not self.containers:
            return self.world.policy()
        unsealed = msgspec.structs.replace(rules(), max_unsealed=self.size)
        return guest_policy(self.world, containers=unsealed)

    def evidence(self, quoted: int, read: int) -> bytes:
        """A quote of the first ``quoted`` entries, with a list of ``read`` ones."""
        if self.containers:
            then, now = (GuestList(self.guest.entries[:size]) for size in (quoted, read))
            return encode_evidence(guest_evidence(self.world, then, now.binary))
        value = bytes(32)
        for raw in self.entries[:quoted]:
            value = hashlib.sha256(value + hashlib.sha256(raw[38:]).digest()).digest()
        pcrs = self.world.pcrs | {10: value}
        quote = self.world.quote(attest(binding.quote_qualifier(self.world.nonce), pcrs))
        log = b"".join(self.entries[:read])
        return encode_evidence(self.world.evidence(ima_log=log, pcr_values=pcrs, quote=quote))

    def attest(
        self,
        moment: tuple[int, int],
        previous: Previous | None = None,
        cache: VerificationCache | None = None,
    ) -> AttestationResult:
        quoted = min(moment[0], self.size)
        read = min(quoted + moment[1], self.size)
        challenge = self.world.challenge(previous=previous)
        return verify(self.evidence(quoted, read), self.policy(), challenge, NOW, cache)


@pytest.fixture(params=[False, True], ids=["host", "containers"])
def machine(world: World, request: pytest.FixtureRequest) -> Machine:
    return Machine(world, containers=request.param)


def test_t12_every_prefix_that_was_quoted_is_accepted_at_its_length(machine: Machine) -> None:
    for quoted in range(1, machine.size + 1):
        result = machine.attest((quoted, machine.size))
        assert (ids(result), result.ima_entries) == (set(), quoted)


def test_t12_a_list_read_before_the_quote_matches_nowhere(machine: Machine) -> None:
    result = verify(
        machine.evidence(machine.size, machine.size - 1),
        machine.policy(), machine.world.challenge(), NOW,
    )  # fmt: skip
    assert "ima.replay.mismatch" in ids(result)


def test_t13_one_entry_less_than_accepted_is_a_rollback(machine: Machine) -> None:
    accepted = machine.attest((machine.size, 0)).state
    assert accepted is not None
    for quoted, expected in ((machine.size - 1, {"ima.replay.rollback"}), (machine.size, set())):
        assert ids(machine.attest((quoted, machine.size), accepted)) == expected


def run(machine: Machine, moments: Sequence[tuple[int, int]]) -> None:
    """Each is accepted exactly if it isn't shorter than the longest accepted; memory or not."""
    cache, last = VerificationCache(), None
    for moment in moments:
        results = [machine.attest(moment, last, memory) for memory in (None, cache)]
        quoted = min(moment[0], machine.size)
        shorter = last is not None and quoted < last.ima_entries
        for result in results:
            assert ids(result) == ({"ima.replay.rollback"} if shorter else set())
            assert result.ima_entries == quoted
        last = last if shorter else results[0].state


@settings(max_examples=25, deadline=None)
@given(MOMENTS)
def test_t12_any_race_of_measuring_and_quoting(
    world: World, moments: list[tuple[int, int]]
) -> None:
    run(Machine(world, containers=False), moments)


@settings(max_examples=25, deadline=None)
@given(MOMENTS)
def test_t12_any_race_with_containers(world: World, moments: list[tuple[int, int]]) -> None:
    run(Machine(world, containers=True), moments)
