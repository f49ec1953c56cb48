"""The compiled replay against the plain one, on lists that are right, wrong and hostile."""

import hashlib
import struct
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_replay
from harness.framework.evidence.ima_log import ImaEntry, parse_entry
from harness.framework.evidence.ima_replay import ImaReplay, Problem, Start
from harness.framework.evidence.ima_walk import AllowedFiles, DomainLists
from harness.workloads import logs

from . import reference_replay
from .reference_replay import Containers

PATHS = ("/bin/a", "/bin/\udcff", "/sbin/a\0b", "", "boot_aggregate", "/" + "long/" * 60)
DIGESTS = tuple(hashlib.sha256(bytes([n])).digest() for n in range(3))
# A path with some digests, one of a size that no SHA-256 has, and a path that no entry can name.
FILES = {path: DIGESTS[: 1 + n % 3] for n, path in enumerate(PATHS)} | {
    "/bin/short": (b"d" * 20,),
    "/bin/\ud800": (DIGESTS[0],),
}
INNER_PCR, DOMAINS = 11, (1, 2, 2**33)


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@st.composite
def entries(draw: st.DrawFn) -> bytes:
    """An entry that is fine more often than not."""
    template = draw(st.sampled_from([b"ima-ng", b"ima-sig", b"ima-ns", b"ima-ngv2", b"ima-buf"]))
    path = draw(st.sampled_from([*PATHS, "/bin/unknown", "/bin/short"]))
    algorithm = draw(st.sampled_from([b"sha256:\0"] * 8 + [b"sha1:\0", b"sha256:", b"sha257:\0"]))
    digest = draw(st.sampled_from([*DIGESTS, b"d" * 20]))
    name = path.encode("utf-8", "surrogateescape") + draw(st.sampled_from([b"\0"] * 8 + [b""]))
    data = sized(algorithm + digest) + sized(name)
    if template == b"ima-ns":
        domain = draw(st.sampled_from([*DOMAINS, 7]))
        data += sized(struct.pack("<QIIII", domain, 1, 2, 3, 4))
    elif template != b"ima-ng":
        data += sized(draw(st.binary(max_size=4)))
    data += draw(st.sampled_from([b""] * 8 + [b"\0"]))
    pcr = draw(
        st.sampled_from([INNER_PCR] * 6 + [10] if template == b"ima-ns" else [10] * 6 + [11])
    )
    sha1 = draw(
        st.sampled_from([hashlib.sha1(data).digest()] * 8 + [bytes(20), bytes(8) + b"x" * 12])
    )
    return struct.pack("<I20s", pcr, sha1) + sized(template) + sized(data)


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """Entries, in one of four cases with bytes changed, removed or added somewhere."""
    log = b"".join(draw(st.lists(entries(), max_size=12)))
    if draw(st.integers(0, 3)):
        return log
    at, removed = draw(st.integers(0, len(log))), draw(st.integers(0, 8))
    return log[:at] + draw(st.binary(max_size=8)) + log[at + removed :]


def outcome(run: object, *given_to: object) -> tuple[object, list[int]]:
    """What a replay returns or how it refuses, and which entries it had judged."""
    judged: list[int] = []

    def judge(number: int, entry: ImaEntry) -> Problem | None:
        judged.append(number)
        return Problem("judged", f"{number} {entry.path!r}") if number % 2 else None

    try:
        result: object = run(judge, *given_to)  # type: ignore[operator]
    except ParseError as error:
        result = str(error)
    return result, judged


def values_of(log: bytes, prefix: int, containers: bool) -> tuple[bytes, ...]:
    """The PCR values after ``prefix`` entries, as far as the list can be read."""
    values, at = [bytes(32), bytes(32)], 0
    for _ in range(prefix):
        try:
            entry, at = parse_entry(log, at)
        except ParseError:
            break
        which = 0 if entry.pcr == 10 or not containers else 1
        values[which] = hashlib.sha256(values[which] + entry.extended).digest()
    return tuple(values) if containers else (values[0],)


@settings(max_examples=300, deadline=None)
@given(lists(), st.integers(0, 14), st.sets(st.sampled_from(["ima-ng", "ima-sig", "ima-buf"])))
def test_replay_is_the_plain_one(log: bytes, prefix: int, templates: set[str]) -> None:
    quoted = values_of(log, prefix, containers=False)
    table = AllowedFiles(FILES, templates)

    def compiled(judge: ima_replay.Judge) -> ImaReplay:
        return ima_replay.replay(log, quoted[0], table, judge)

    def plain(judge: ima_replay.Judge) -> ImaReplay:
        return reference_replay.replay(log, quoted, FILES, templates, judge)

    expected = outcome(plain)
    assert outcome(compiled) == expected
    # What it remembers of the first time changes nothing.
    assert outcome(compiled) == expected


@settings(max_examples=300, deadline=None)
@given(lists(), st.integers(0, 14), st.sampled_from([11, 10, 12]))
def test_replay_with_containers_is_the_plain_one(log: bytes, prefix: int, pcr: int) -> None:
    quoted = values_of(log, prefix, containers=True)
    told: Containers = {1: (FILES, []), 2: (None, []), 2**33: ({"/bin/a": DIGESTS[:1]}, [])}
    domains = SimpleNamespace(pcr=pcr, lists=DomainLists())
    known = {
        number: domains.lists.add(number, None if files is None else AllowedFiles(files))
        for number, (files, _) in told.items()
    }
    table, start = AllowedFiles(FILES), bytes(32)

    def compiled(judge: ima_replay.Judge) -> ImaReplay:
        both = (quoted[0], quoted[1])
        return ima_replay.replay_domains(log, both, start, table, judge, domains)

    def plain(judge: ima_replay.Judge) -> ImaReplay:
        templates = ("ima-ng", "ima-sig")
        return reference_replay.replay(log, quoted, FILES, templates, judge, (pcr, start, told))

    assert outcome(compiled) == outcome(plain)
    for number, (_, aggregates) in told.items():
        found = [known[number].aggregate(n + 1) for n in range(len(known[number]))]
        assert found == aggregates


@pytest.mark.parametrize("quoted", [b"", bytes(31), bytes(33)])
def test_a_value_of_another_size_never_matches(quoted: bytes) -> None:
    log = logs.ima_log(3, 1)
    table = AllowedFiles(log.allowed)
    result = ima_replay.replay(log.binary, quoted, table, lambda *_: None)
    assert result == ImaReplay(False, 3, (), len(log.binary))


def test_a_replay_goes_on_where_another_ended() -> None:
    log = logs.ima_log(40, 2)
    table, judged = AllowedFiles(log.allowed), []
    value, values = bytes(32), []
    for extended in log.template_hashes_sha256:
        value = hashlib.sha256(value + extended).digest()
        values.append(value)

    def judge(number: int, _entry: ImaEntry) -> None:
        judged.append(number)

    first = ima_replay.replay(log.binary, values[24], table, judge)
    assert (first.entries, judged) == (25, [0])
    start = Start(first.entries, values[24], first.end)
    rest = ima_replay.replay(log.binary, values[-1], table, judge, start)
    assert rest == ImaReplay(True, 40, (), len(log.binary))
    # The new part alone does as well, and its first entry isn't taken for boot_aggregate.
    alone = ima_replay.replay(
        log.binary[first.end :], values[-1], table, judge, start._replace(at=0)
    )
    assert (alone.matched, alone.entries, judged) == (True, 40, [0])
    wrong = ima_replay.replay(log.binary, values[-1], table, judge, start._replace(pcr=bytes(32)))
    assert not wrong.matched


def test_a_list_of_nothing_but_unacceptable_entries_is_given_up() -> None:
    """After so many that the next one is one too many, wherever the rest would have led."""
    most = ima_replay.MAX_UNACCEPTABLE
    log, table = logs.ima_log(most + 50, 2), AllowedFiles({})
    values = [bytes(32)]
    for extended in log.template_hashes_sha256:
        values.append(hashlib.sha256(values[-1] + extended).digest())

    def refuse(number: int, _entry: ImaEntry) -> Problem:
        return Problem("ima.file.unknown", f"entry {number}")

    reached = ima_replay.replay(log.binary, values[most], table, refuse)
    assert (reached.matched, reached.entries, reached.gave_up) == (True, most, False)
    given_up = ima_replay.replay(log.binary, values[most + 1], table, refuse)
    assert (given_up.matched, given_up.entries, given_up.gave_up) == (False, most, True)
    assert len(given_up.problems) == ima_replay.MAX_REPORTED


def test_many_containers_keep_apart() -> None:
    lists_of, extended = DomainLists(), [hashlib.sha256(bytes([n])).digest() for n in range(40)]
    known = [lists_of.add(number * 2**20, None) for number in range(5000)]
    for number, measured in enumerate(known):
        for value in extended[: number % 40]:
            measured.add(value)
    for number in (0, 1, 39, 4999):
        value = bytes(32)
        for each in extended[: number % 40]:
            value = hashlib.sha256(value + each).digest()
        assert len(known[number]) == number % 40
        assert known[number].aggregate(number % 40) == value
    with pytest.raises(IndexError, match="40 entries of 39"):
        known[39].aggregate(40)


def test_threads_share_what_is_remembered() -> None:
    log = logs.ima_log(5000, 3)
    table, results = AllowedFiles(log.allowed), []

    def run() -> None:
        results.append(ima_replay.replay(log.binary, b"", table, lambda *_: None))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ImaReplay(False, 5000, (), len(log.binary))] * 4
    value = bytes(32)
    for extended in log.template_hashes_sha256:
        value = hashlib.sha256(value + extended).digest()
    assert ima_replay.replay(log.binary, value, table, lambda *_: None).matched
