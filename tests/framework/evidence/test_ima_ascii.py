"""Text lists become the binary lists that the kernel would have shown."""

import hashlib
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_ascii, ima_log, ima_replay
from harness.framework.evidence.ima_log import ImaEntry
from harness.framework.evidence.ima_walk import AllowedFiles
from harness.workloads import logs

DATA = Path(__file__).parents[2] / "data"
DIGEST = bytes(range(32))


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


FILE = sized(b"sha256:\0" + DIGEST) + sized(b"/bin/a\0")
TYPED = sized(b"verity:sha512:\0" + 2 * DIGEST) + sized(b"/bin/a\0")
# How the kernel's documentation and ima_template_lib.c show the fields of each template.
TEMPLATES = [
    ("ima", b"s" * 20 + b"/bin/old".ljust(256, b"\0"), f"{'73' * 20} /bin/old"),
    ("ima-ng", FILE, f"sha256:{DIGEST.hex()} /bin/a"),
    ("ima-ngv2", TYPED, f"verity:sha512:{2 * DIGEST.hex()} /bin/a"),
    ("ima-sig", FILE + sized(b"\3\2"), f"sha256:{DIGEST.hex()} /bin/a 0302"),
    ("ima-sig", FILE + sized(b""), f"sha256:{DIGEST.hex()} /bin/a "),
    ("ima-sigv2", TYPED + sized(b"\6\3"), f"verity:sha512:{2 * DIGEST.hex()} /bin/a 0603"),
    ("ima-buf", FILE + sized(b"quiet"), f"sha256:{DIGEST.hex()} /bin/a {b'quiet'.hex()}"),
    ("ima-modsig", FILE + 3 * sized(b""), f"sha256:{DIGEST.hex()} /bin/a   "),
    (
        "ima-modsig",
        FILE + sized(b"") + sized(b"sha1:\0" + b"m" * 20) + sized(b"\x30\x82"),
        f"sha256:{DIGEST.hex()} /bin/a  sha1:{'6d' * 20} 3082",
    ),
    (
        "evm-sig",
        FILE + sized(b"\5\2") + sized(b"security.ima|security.selinux\0") + sized(bytes(8))
        + sized(b"ab") + sized(struct.pack("<I", 1000)) + sized(struct.pack("<I", 0))
        + sized(struct.pack("<H", 0o100755)),
        f"sha256:{DIGEST.hex()} /bin/a 0502 security.ima|security.selinux {'00' * 8} 6162"
        " 1000 0 33261",
    ),
    (
        "ima-ns",
        FILE + sized(struct.pack("<QIIII", 3, 4026532001, 4, 5, 6)),
        f"sha256:{DIGEST.hex()} /bin/a 3,mnt:4026532001,pid:4,user:5,cgroup:6",
    ),
]  # fmt: skip
SIZED = TEMPLATES[1:]


def line(template: str, data: bytes, shown: str) -> str:
    return f"10 {hashlib.sha1(data).hexdigest()} {template} {shown}\n"


def entries_of(log: bytes) -> list[ImaEntry]:
    found, at = [], 0
    while at < len(log):
        entry, at = ima_log.parse_entry(log, at)
        found.append(entry)
    return found


def accept(_number: int, _entry: ImaEntry) -> None:
    return None


@pytest.mark.parametrize(("template", "data", "shown"), TEMPLATES)
def test_every_template_extends_what_its_text_says(template: str, data: bytes, shown: str) -> None:
    log = ima_ascii.to_binary(line(template, data, shown).encode())
    [entry] = entries_of(log)
    assert (entry.template, entry.pcr) == (template, 10)
    assert entry.extended == hashlib.sha256(data).digest()
    assert entry.digest_of == ("verity" if data.startswith(TYPED) else "ima")


@pytest.mark.oracle
def test_a_list_of_every_template_replays_as_in_evmctl(tmp_path: Path) -> None:
    # evmctl takes "ima" only in a list of its own (test_logs.py has one).
    text = "".join(line(*template) for template in SIZED)
    log = ima_ascii.to_binary(text.encode())
    pcrs = {"sha1": bytes(20), "sha256": bytes(32)}
    for _, data, _ in SIZED:
        for bank, value in pcrs.items():
            pcrs[bank] = hashlib.new(bank, value + hashlib.new(bank, data).digest()).digest()
    (tmp_path / "ima").write_bytes(log)
    command = ["evmctl", "-v", "ima_measurement", str(tmp_path / "ima")]
    for bank, value in pcrs.items():
        rows = [value if n == 10 else bytes(len(value)) for n in range(24)]
        shown = [f"PCR-{n:02d}: {row.hex(' ').upper()}\n" for n, row in enumerate(rows)]
        (tmp_path / bank).write_text("".join(shown))
        command[3:3] = ["--pcrs", f"{bank},{tmp_path / bank}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for bank in pcrs:
        assert f"{bank} PCR-10: succeed at entry {len(SIZED)}" in done.stdout + done.stderr
    result = ima_replay.replay(log, pcrs["sha256"], AllowedFiles({}), accept)
    assert (result.matched, result.entries) == (True, len(SIZED))


@pytest.mark.oracle
def test_lines_of_a_real_kernel_hash_to_what_it_wrote() -> None:
    text = (DATA / "keylime" / "kernel-lines").read_bytes()
    log, at, hashed = ima_ascii.to_binary(text), 0, []
    while at < len(log):
        name_size = struct.unpack_from("<I", log, at + 24)[0]
        _, end = ima_log.parse_entry(log, at)
        hashed.append(hashlib.sha1(log[at + 32 + name_size : end]).hexdigest())
        at = end
    assert hashed == [row.split()[1].decode() for row in text.splitlines()]


@pytest.mark.parametrize("name", ["two-containers", "violation"])
def test_a_recorded_list_survives_being_shown_as_text(name: str) -> None:
    log = (DATA / "ima" / name / "ima_log").read_bytes()
    rows, at = [], 0
    while at < len(log):
        sha1 = log[at + 4 : at + 24].hex()
        entry, at = ima_log.parse_entry(log, at)
        row = f"{entry.pcr} {sha1} {entry.template} {entry.algorithm}:{entry.digest.hex()} {entry.path}"
        if entry.template == "ima-ns":
            spaces = struct.unpack("<QIIII", entry.extra)
            row += " {},mnt:{},pid:{},user:{},cgroup:{}".format(*spaces)
        elif entry.template != "ima-ng":
            row += f" {entry.extra.hex()}"
        rows.append(row)
    assert ima_ascii.to_binary("\n".join(rows).encode()) == log


def test_a_path_with_spaces_is_told_apart_where_it_is_last() -> None:
    data = sized(b"sha256:\0" + DIGEST) + sized(b"/bin/a (deleted)\0")
    shown = f"sha256:{DIGEST.hex()} /bin/a (deleted)"
    [entry] = entries_of(ima_ascii.to_binary(line("ima-ng", data, shown).encode()))
    assert (entry.path, entry.extended) == ("/bin/a (deleted)", hashlib.sha256(data).digest())
    with pytest.raises(ParseError, match="malformed fields of 'ima-sig'"):
        ima_ascii.to_binary(line("ima-sig", data, shown + " 0302").encode())


GOOD = f"10 {'1' * 40} ima-ng sha256:{DIGEST.hex()} /bin/a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("ima-ng", "ima-xx"), "known template"),
        (GOOD.replace("1" * 40, "1" * 64), "known template"),
        (GOOD.replace("10 ", "010 "), "known template"),
        (GOOD + "\n\n" + GOOD, "line 2"),
        (GOOD + "\nsecond line of a name", "line 2"),
        (GOOD.replace("sha256:", "sha256"), "malformed fields"),
        (GOOD.replace("sha256:", "SHA256:"), "malformed fields"),
        (GOOD[:-7], "malformed fields"),
        (GOOD.replace("/bin/a", ""), "malformed fields"),
        (GOOD.replace("00", "0g", 1), "malformed fields"),
        (GOOD.replace("00", "0", 1), "malformed fields"),
        (GOOD.replace("ima-ng", "ima-ns") + " 1,mnt:2,pid:3,user:4,cgroup:4294967296", "malformed"),
        (GOOD.replace("ima-ng", "ima-ns") + " 1,mnt:2,pid:3", "malformed"),
    ],
)
def test_what_cannot_be_told_for_sure_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem) as caught:
        ima_ascii.to_binary(text.encode())
    assert "\n" not in str(caught.value)


ALL = "".join(line(*template) for template in TEMPLATES).encode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(ALL)), st.binary(max_size=12), st.integers(0, 12))
def test_noise_is_a_parse_error_or_a_list_that_can_be_read(
    at: int, noise: bytes, removed: int
) -> None:
    try:
        log = ima_ascii.to_binary(ALL[:at] + noise + ALL[at + removed :])
        entries_of(log)
    except ParseError:
        pass


def test_synthetic_lists_are_the_same_in_both_forms() -> None:
    made = logs.ima_log(50, 3)
    rows = [
        f"10 {hashlib.sha1(logs.template_data(e.path, e.digest)).hexdigest()} ima-ng"
        f" sha256:{e.digest.hex()} {e.path}\n"
        for e in entries_of(made.binary)
    ]
    assert ima_ascii.to_binary("".join(rows).encode()) == made.binary
