"""Log parsers against tpm2_eventlog and evmctl, and against noise."""

import contextlib
import hashlib
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ima_replay
from harness.framework.evidence.ima_log import ImaEntry
from harness.framework.evidence.ima_replay import Problem
from harness.framework.evidence.ima_walk import AllowedFiles
from harness.workloads import logs

NOTHING = AllowedFiles({})


def accept(_number: int, _entry: ImaEntry) -> Problem | None:
    return None


def refuse(number: int, _entry: ImaEntry) -> Problem | None:
    return Problem("refused", str(number)) if number else None


def eventlog_pcrs(log: Path) -> dict[str, dict[int, bytes]]:
    """PCR values by bank as tpm2_eventlog computes them."""
    done = subprocess.run(["tpm2_eventlog", log], capture_output=True, text=True, check=True)
    assert "WARN" not in done.stderr
    banks: dict[str, dict[int, bytes]] = {}
    for line in done.stdout.partition("\npcrs:\n")[2].splitlines():
        if match := re.fullmatch(r"  (\w+):", line):
            bank = banks.setdefault(match[1], {})
        elif match := re.fullmatch(r"    (\d+) *: 0x([0-9a-f]+)", line):
            bank[int(match[1])] = bytes.fromhex(match[2])
    return banks


def evmctl(log: Path, pcr10: bytes, tmp_path: Path) -> str:
    values = {10: pcr10}
    lines = (f"PCR-{n:02d}: {values.get(n, bytes(32)).hex(' ').upper()}\n" for n in range(24))
    (tmp_path / "pcrs").write_text("".join(lines))
    command = ["evmctl", "-v", "ima_measurement", "--pcrs", "sha256,pcrs", str(log)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.oracle
@pytest.mark.parametrize("seed", [1, 2])
def test_boot_replay_equals_tpm2_eventlog(seed: int, tmp_path: Path) -> None:
    log = logs.boot_event_log(seed)
    (tmp_path / "log").write_bytes(log.log)
    expected = eventlog_pcrs(tmp_path / "log")
    events = boot_event_log.parse(log.log)
    assert boot_event_log.replay(events) == expected["sha256"]
    assert boot_event_log.replay(events, boot_event_log.ALG_SHA1) == expected["sha1"]
    announced = logs.pcrs_after(log.extends)
    assert {pcr: announced[pcr] for pcr in range(10)} == expected["sha256"]
    extended = [(e.pcr, e.digests[boot_event_log.ALG_SHA256]) for e in events[1:]]
    assert extended == list(log.extends)


@pytest.mark.oracle
def test_sha1_log_replays_as_tpm2_eventlog(tmp_path: Path) -> None:
    digests = [hashlib.sha1(bytes([n])).digest() for n in range(4)]
    log = b"".join(struct.pack("<II20sI", n % 2, 0xD, d, 3) + b"abc" for n, d in enumerate(digests))
    (tmp_path / "log").write_bytes(log)
    done = subprocess.run(
        ["tpm2_eventlog", tmp_path / "log"], capture_output=True, text=True, check=True
    )
    values = boot_event_log.replay(boot_event_log.parse(log), boot_event_log.ALG_SHA1)
    assert len(values) == 2
    for value in values.values():
        assert value.hex() in done.stdout


def test_startup_locality_sets_where_pcr0_starts() -> None:
    locality = b"StartupLocality\0\3"
    log = struct.pack("<II20sI", 0, 3, bytes(20), 17) + locality
    digest = hashlib.sha1(b"x").digest()
    log += struct.pack("<II20sI", 0, 8, digest, 0)
    values = boot_event_log.replay(boot_event_log.parse(log), boot_event_log.ALG_SHA1)
    assert values == {0: hashlib.sha1(bytes(19) + b"\3" + digest).digest()}


@pytest.mark.oracle
@pytest.mark.parametrize("entries", [1, 200])
def test_ima_replay_equals_evmctl(entries: int, tmp_path: Path) -> None:
    log = logs.ima_log(entries, 3)
    (tmp_path / "ima").write_bytes(log.binary)
    value = bytes(32)
    for template_hash in log.template_hashes_sha256:
        value = hashlib.sha256(value + template_hash).digest()
    assert f"succeed at entry {entries}" in evmctl(tmp_path / "ima", value, tmp_path)
    result = ima_replay.replay(log.binary, value, NOTHING, accept)
    assert (result.matched, result.entries) == (True, entries)
    wrong = bytes(31) + b"\1"
    assert "Failed to match" in evmctl(tmp_path / "ima", wrong, tmp_path)
    assert not ima_replay.replay(log.binary, wrong, NOTHING, accept).matched


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def entry(template: bytes, data: bytes) -> bytes:
    return struct.pack("<I20s", 10, hashlib.sha1(data).digest()) + sized(template) + sized(data)


NG = sized(b"sha256:\0" + b"d" * 32) + sized(b"/bin/a\0")
OLD = b"s" * 20 + b"/bin/old".ljust(256, b"\0")  # how the kernel hashes template "ima"
OLD_ENTRY = struct.pack("<I20s", 10, hashlib.sha1(OLD).digest()) + sized(b"ima")
OLD_ENTRY += b"s" * 20 + sized(b"/bin/old")
SIG, BUF = NG + sized(b"\3\2sig"), NG + sized(b"buffer")
NEW_LOG = entry(b"ima-ng", NG) + entry(b"ima-sig", SIG) + entry(b"ima-buf", BUF)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("log", "datas"), [(NEW_LOG, [NG, SIG, BUF]), (OLD_ENTRY, [OLD])], ids=["new", "ima"]
)
def test_every_template_replays_as_in_evmctl(
    log: bytes, datas: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "ima").write_bytes(log)
    value = bytes(32)
    for data in datas:
        value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
    assert f"succeed at entry {len(datas)}" in evmctl(tmp_path / "ima", value, tmp_path)
    result = ima_replay.replay(log, value, NOTHING, accept)
    assert (result.matched, result.entries) == (True, len(datas))


def test_every_template_is_read() -> None:
    seen: list[ImaEntry] = []

    def watch(_number: int, found: ImaEntry) -> None:
        seen.append(found)

    ima_replay.replay(NEW_LOG + OLD_ENTRY, b"", NOTHING, watch)
    assert [e.template for e in seen] == ["ima-ng", "ima-sig", "ima-buf", "ima"]
    assert [e.path for e in seen] == ["/bin/a"] * 3 + ["/bin/old"]
    assert [e.digest for e in seen] == [b"d" * 32] * 3 + [b"s" * 20]
    assert [e.extra for e in seen] == [b"", b"\3\2sig", b"buffer", b""]


def test_fast_path_gives_what_the_parser_gives() -> None:
    log = logs.ima_log(300, 5)
    allowed = AllowedFiles(log.allowed)
    slow, cold, warm = (
        ima_replay.replay(log.binary, bytes(32), table, refuse)
        for table in (NOTHING, allowed, allowed)
    )
    assert len(slow.problems) == ima_replay.MAX_REPORTED
    assert (cold.entries, cold.problems) == (300, ())
    assert cold == warm


@pytest.mark.parametrize("path", [b"", b"no zero"])
def test_fast_path_leaves_malformed_paths_to_the_parser(path: bytes) -> None:
    data = sized(b"sha256:\0" + b"d" * 32) + sized(path)
    log = entry(b"ima-ng", NG) + entry(b"ima-ng", data)
    allowed = AllowedFiles({name: [b"d" * 32] for name in ("", "no zero", "no zer")})
    with pytest.raises(ParseError, match="malformed"):
        ima_replay.replay(log, b"", allowed, accept)


def test_prefix_of_each_length_matches_at_its_length() -> None:
    log = logs.ima_log(20, 5)
    value = bytes(32)
    for length, template_hash in enumerate(log.template_hashes_sha256, 1):
        value = hashlib.sha256(value + template_hash).digest()
        result = ima_replay.replay(log.binary, value, AllowedFiles(log.allowed), accept)
        assert (result.matched, result.entries) == (True, length)


@pytest.mark.parametrize("count", [0, 9, 2**32 - 1])
def test_boot_log_header_with_impossible_banks(count: int) -> None:
    spec = b"Spec ID Event03\0" + bytes(8) + struct.pack("<I", count)
    with pytest.raises(ParseError, match="hash algorithms"):
        boot_event_log.parse(struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec)


BOOT, IMA = logs.boot_event_log(1).log, logs.ima_log(30, 1).binary


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(BOOT)), st.binary(max_size=12), st.integers(0, 12))
def test_boot_log_parser_raises_only_parse_errors(at: int, noise: bytes, removed: int) -> None:
    with contextlib.suppress(ParseError):
        boot_event_log.replay(boot_event_log.parse(BOOT[:at] + noise + BOOT[at + removed :]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(IMA)), st.binary(max_size=12), st.integers(0, 12))
def test_ima_parser_raises_only_parse_errors(at: int, noise: bytes, removed: int) -> None:
    allowed = AllowedFiles(logs.ima_log(30, 1).allowed)
    log = IMA[:at] + noise + IMA[at + removed :]
    with contextlib.suppress(ParseError):
        ima_replay.replay(log, bytes(32), allowed, refuse)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_pure_noise_is_a_parse_error_or_nothing(noise: bytes) -> None:
    for parse in (boot_event_log.parse, lambda log: ima_replay.replay(log, b"", NOTHING, accept)):
        with contextlib.suppress(ParseError):
            parse(noise)
