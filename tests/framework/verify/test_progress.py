"""What can follow the last accepted evidence (attacks T13, T14, T27, T30)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.framework.evidence.quote import QuoteInfo
from harness.framework.verify import Previous
from harness.framework.verify.progress import Standing, check, refuse_revoked

from .world import NOW, World, ids, judge, name_of, other_key, public_area

AK = b"\0\x0b" + bytes(32)
ROLLBACK, RESET = "freshness.rollback", "freshness.reset"


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        (Previous(1, 0, 4999, 50), set()),
        (Previous(1, 0, 5000, 50), set()),
        (Previous(1, 0, 4999, 51), {"ima.replay.rollback"}),
        (Previous(1, 0, 5001, 50), {ROLLBACK}),
        (Previous(1, 1, 4999, 50), {ROLLBACK}),
        (Previous(2, 0, 4999, 50), {ROLLBACK}),
        (Previous(0, 9, 9999, 99), {RESET}),
    ],
    ids=["later", "same", "log", "clock", "restart", "reset", "rebooted"],
)
def test_t13_t14_rollback_and_reset(world: World, previous: Previous, expected: set[str]) -> None:
    assert ids(judge(world, challenge=world.challenge(previous=previous))) == expected


def test_a_guest_may_boot_again_where_the_policy_says_so(world: World) -> None:
    policy = world.policy(accept_reset=True)
    for previous, expected in (
        (Previous(0, 9, 9999, 99), set()),
        (Previous(2, 0, 4999, 50), {ROLLBACK}),
        (Previous(1, 0, 4999, 51), {"ima.replay.rollback"}),
    ):
        challenge = world.challenge(previous=previous)
        assert ids(judge(world, policy=policy, challenge=challenge)) == expected


def test_t27_the_instance_of_another_living_key(world: World) -> None:
    other = name_of(public_area(other_key()))
    for name, expected in ((other, {"freshness.instance"}), (name_of(world.public), set())):
        challenge = world.challenge(previous=Previous(1, 0, 1, 1, name))
        result = judge(world, challenge=challenge)
        assert ids(result) == expected
        assert (result.state is None) == bool(expected)


def test_t30_the_clock_of_a_copy_jumps_ahead(world: World) -> None:
    """Quoted at 5,000 ms; 10 s before, the last accepted copy stood at 1,000 ms less than that."""

    def found(clock: int, seconds_ago: float) -> set[str]:
        previous = Previous(1, 0, clock, 50, name_of(world.public), NOW - seconds_ago)
        return ids(judge(world, challenge=world.challenge(previous=previous)))

    assert found(4000, 1) == set()
    assert found(1000, 4) == set()
    assert found(100, 0.5) == {"freshness.clone"}


def _standing(clock: int, entries: int, continues: bool | None, resets: int = 1) -> Standing:
    info = QuoteInfo(b"", b"", clock, resets, 0, True, 0, (), b"")
    return Standing(AK, info, entries, continues)


def _found(previous: Previous, now: Standing, now_s: float) -> set[str]:
    return {failure.id for failure in check(previous, now, now_s, accept_reset=False)}


def test_a_list_that_went_another_way_is_a_clones() -> None:
    previous = Previous(1, 0, 100, 50, AK)
    assert _found(previous, _standing(200, 60, True), NOW) == set()
    assert _found(previous, _standing(200, 60, None), NOW) == set()
    assert _found(previous, _standing(200, 60, False), NOW) == {"freshness.clone"}
    assert _found(previous, _standing(200, 40, False), NOW) == {"ima.replay.rollback"}


def test_a_reset_tpm_whose_list_goes_on_was_restarted_alone() -> None:
    previous = Previous(1, 0, 100, 50, AK)
    assert _found(previous, _standing(10, 60, True, 2), NOW) == {"freshness.restart"}
    assert _found(previous, _standing(10, 60, False, 2), NOW) == {"freshness.reset"}
    assert _found(Previous(1, 0, 100, 0, AK), _standing(1, 60, True, 2), NOW) == {RESET}


@given(
    behind_ms=st.integers(2_000, 10_000_000),
    waits_ms=st.tuples(st.integers(0, 10_000_000), st.integers(0, 10_000_000)),
)
def test_two_copies_asked_in_turn_are_found(behind_ms: int, waits_ms: tuple[int, int]) -> None:
    """A, its copy B that ran ``behind_ms`` less, and A again; B passes only after a long wait."""
    first, second = waits_ms
    at_b = NOW + first / 1000
    start = 1_000_000_000
    b_found = _found(
        Previous(1, 0, start, 50, AK, NOW), _standing(start + first - behind_ms, 50, None), at_b
    )
    assert (b_found == {ROLLBACK}) == (first < behind_ms)
    if b_found:
        return
    clock_b = start + first - behind_ms
    a_found = _found(
        Previous(1, 0, clock_b, 50, AK, at_b),
        _standing(start + first + second, 50, None),
        at_b + second / 1000,
    )
    if second < 2 * (behind_ms - 1_000) - 1:
        assert a_found == {"freshness.clone"}


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 50))
def test_one_tpm_whose_clock_is_a_third_fast_is_accepted(
    clock: int, wait_ms: int, more: int
) -> None:
    now = _standing(clock + wait_ms * 4 // 3, 50 + more, True)
    previous = Previous(1, 0, clock, 50, AK, NOW)
    assert _found(previous, now, NOW + wait_ms / 1000) == set()


def test_t05_revoked_by_the_verifier_itself(world: World) -> None:
    accepted = judge(world)
    key, host = name_of(world.public), world.claims.host_ak_name
    assert refuse_revoked(accepted, {host}, {key}) == accepted
    by_key = refuse_revoked(accepted, {key}, set())
    assert (ids(by_key), by_key.state) == ({"chain.ak.revoked"}, None)
    assert ids(refuse_revoked(accepted, set(), {host})) == {"chain.host.revoked"}
    assert ids(refuse_revoked(accepted, {key}, {host})) == {
        "chain.ak.revoked",
        "chain.host.revoked",
    }
    rejected = judge(world, now_s=NOW + 31)
    assert refuse_revoked(rejected, {key}, {host}) == rejected
