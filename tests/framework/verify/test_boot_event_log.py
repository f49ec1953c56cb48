"""Replay of boot event logs against tpm2_eventlog and a TPM, in every bank."""

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_SU,
    TPML_DIGEST_VALUES,
    TPMT_HA,
    TPMU_HA,
    TCTILdr,
    TSS2_Exception,
)

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ccel

from .boot_logs import (
    CRTM,
    DRIVER_CONFIG,
    HASHES,
    NO_ACTION,
    SHA1,
    SHA256,
    SHA384,
    SM3,
    event,
    header,
    tool_pcrs,
    variable,
)

DATA = Path(__file__).parents[2] / "data"
CCEL = (DATA / "boot" / "CCEL_data_ovmf").read_bytes()
# The tool reads the data of some types, and ends at what it can't make sense of.
PLAIN = st.tuples(st.integers(0, 23), st.sampled_from([4, 6, 8, 0xFFFF]), st.binary(max_size=40))
VARIABLE = st.builds(
    lambda pcr, name, value: (pcr, DRIVER_CONFIG, variable(name, value)),
    st.integers(0, 23), st.sampled_from(["Lang", "Timeout", "Setup"]), st.binary(max_size=20),
)  # fmt: skip
EVENTS = st.lists(PLAIN | VARIABLE, max_size=12)
BANKS = st.lists(st.sampled_from(sorted(HASHES)), min_size=1, max_size=5, unique=True)
TOOL_NAME = HASHES | {SM3: "sm3_256"}


@pytest.mark.oracle
@settings(max_examples=30, deadline=None)
@given(BANKS, EVENTS, st.binary(max_size=5))
def test_every_bank_replays_as_in_tpm2_eventlog(
    banks: list[int], events: list[tuple[int, int, bytes]], vendor: bytes
) -> None:
    log = header(banks, vendor=vendor) + b"".join(event(*parts, banks) for parts in events)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(log)
        expected = tool_pcrs(Path(file.name))
    parsed = boot_event_log.parse(log)
    for bank in banks:
        assert boot_event_log.replay(parsed, bank) == expected.get(TOOL_NAME[bank], {})


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["two-containers", "violation"])
def test_recorded_logs_replay_as_in_tpm2_eventlog(name: str) -> None:
    log = DATA / "ima" / name / "boot_log"
    replayed = boot_event_log.replay(boot_event_log.parse(log.read_bytes()))
    assert replayed == tool_pcrs(log)["sha256"]
    assert len(replayed) > 5


def test_no_action_never_extends_wherever_it_is() -> None:
    """The tool's version 5.4 extends them (its issue 3224), so it is asked without them."""
    extended = [event(0, CRTM, b"a"), event(3, 4, bytes(4)), event(0, 1, b"")]
    plain = boot_event_log.replay(boot_event_log.parse(header([SHA256]) + b"".join(extended)))
    silent = event(3, NO_ACTION, b"SP800-155 Event\0...")
    marked = event(0xFFFFFFFF, NO_ACTION, b"")
    log = header([SHA256]) + silent + silent.join(extended) + marked
    assert boot_event_log.replay(boot_event_log.parse(log)) == plain


@pytest.mark.oracle
@pytest.mark.parametrize("locality", [0, 3])
def test_startup_locality_is_where_a_tpm_starts_pcr0(locality: int) -> None:
    value = pcr0_after(locality, hashlib.sha256(b"crtm").digest())
    log = header([SHA256]) + event(0, NO_ACTION, b"StartupLocality\0" + bytes([locality]))
    log += event(0, CRTM, b"crtm")
    assert boot_event_log.replay(boot_event_log.parse(log)) == {0: value}


def pcr0_after(locality: int, extended: bytes) -> bytes:
    """PCR 0 of a TPM that is started at ``locality`` and then extended once."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/tpm"
        server, control = f"type=unixio,path={socket}", f"type=unixio,path={socket}.ctrl"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", server]
        command += ["--ctrl", control, "--flags", "not-need-init"]
        tpm = subprocess.Popen(command)
        try:
            with connected(socket) as tcti:
                tcti.set_locality(locality)
                ectx = ESAPI(tcti)
                ectx.startup(TPM2_SU.CLEAR)
                digests = [TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=extended))]
                ectx.pcr_extend(ESYS_TR.PCR0, TPML_DIGEST_VALUES(digests))
                _, _, values = ectx.pcr_read("sha256:0")
                ectx.close()
                return bytes(values[0])
        finally:
            tpm.kill()
            tpm.wait()


def connected(socket: str) -> TCTILdr:
    """swtpm makes its sockets a moment before it listens on them."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return TCTILdr("swtpm", f"path={socket}")
        except TSS2_Exception:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("locality", [1, 2, 5, 255])
def test_impossible_startup_locality_is_refused(locality: int) -> None:
    log = header([SHA256]) + event(0, NO_ACTION, b"StartupLocality\0" + bytes([locality]))
    with pytest.raises(ParseError, match=f"locality {locality}, expected 0, 3 or 4"):
        boot_event_log.replay(boot_event_log.parse(log))


def test_locality_after_pcr0_was_extended_changes_nothing() -> None:
    late = event(0, NO_ACTION, b"StartupLocality\0\3")
    log = header([SHA256]) + event(0, CRTM, b"a")
    values = [boot_event_log.replay(boot_event_log.parse(log + rest)) for rest in (b"", late)]
    assert values[0] == values[1]


LOG = header([SHA1, SHA256]) + event(0, CRTM, b"v\0\0", [SHA1, SHA256])
LOG += event(7, 4, bytes(4), [SHA1, SHA256])


@pytest.mark.parametrize("padding", [b"\0", b"\xff"])
@pytest.mark.parametrize("size", [0, 1, 31, 4096])
def test_padding_of_an_acpi_area_is_no_event(padding: bytes, size: int) -> None:
    assert boot_event_log.parse(LOG + padding * size) == boot_event_log.parse(LOG)


@pytest.mark.parametrize("rest", [b"\0\xff", b"\xff\0", b"\0" * 40 + b"\1", b"\xff" * 40 + b"\xfe"])
def test_anything_else_after_the_last_event_is_refused(rest: bytes) -> None:
    with pytest.raises(ParseError):
        boot_event_log.parse(LOG + rest)


def test_bank_that_nobody_knows_is_carried_but_not_replayed() -> None:
    log = header([SHA256, 0x99]) + event(0, CRTM, b"a", [SHA256, 0x99])
    events = boot_event_log.parse(log)
    assert events[1].digests[0x99] == b"?" * 32
    assert boot_event_log.replay(events).keys() == {0}
    with pytest.raises(ParseError, match="bank 0x0099 can't be replayed"):
        boot_event_log.replay(events, 0x99)


@pytest.mark.oracle
def test_event_without_a_digest_of_one_bank_leaves_that_bank_unknown(tmp_path: Path) -> None:
    log = header([SHA1, SHA256]) + event(0, CRTM, b"a", [SHA256]) + event(1, 4, bytes(4), [SHA256])
    (tmp_path / "log").write_bytes(log)
    events = boot_event_log.parse(log)
    assert boot_event_log.replay(events) == tool_pcrs(tmp_path / "log")["sha256"]
    with pytest.raises(ParseError, match="PCR 0 has no sha1 digest"):
        boot_event_log.replay(events, SHA1)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (event(24, CRTM, b"a"), "PCR 24"),
        (event(0xFFFFFFFF, CRTM, b"a"), "PCR 4294967295"),
        (event(0, CRTM, b"a", []), "0 digests"),
        (event(0, CRTM, b"a", [SHA1]), "unexpected digest 0x0004"),
        (event(0, CRTM, b"a")[:-1], "truncated"),
        (event(0, CRTM, b"a")[:-5] + b"\xff\xff\xff\xffa", "truncated"),
    ],
)  # fmt: skip
def test_malformed_events_are_named(bad: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        boot_event_log.parse(header([SHA256]) + bad)


@pytest.mark.oracle
def test_ccel_replays_as_in_tpm2_eventlog(tmp_path: Path) -> None:
    """The tool takes the log once its header names register 0; nothing else is changed."""
    (tmp_path / "log").write_bytes(bytes(4) + CCEL.rstrip(b"\xff")[4:])
    expected = tool_pcrs(tmp_path / "log")["sha384"]
    assert expected.keys() == {1, 2, 3}
    registers = ccel.replay(ccel.parse(CCEL))
    assert registers == (*(expected[n] for n in (1, 2, 3)), bytes(48))


def test_ccel_of_a_register_that_no_guest_extends() -> None:
    for register in (0, 5):
        with pytest.raises(ParseError, match=f"register {register}, expected 1 to 4"):
            ccel.parse(header([SHA384], 1) + event(register, CRTM, b"a", [SHA384]))
    with pytest.raises(ParseError, match="no sha384 digest"):
        ccel.replay(ccel.parse(header([SHA256], 1) + event(1, CRTM, b"a", [SHA256])))
