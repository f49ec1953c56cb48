"""The guest's launch digest, put together again by hand and hashed by openssl."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from harness.framework import tee
from harness.framework.errors import TeeError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee.csv_launch import guest_launch_digest, kernel_hashes
from harness.framework.tee.csv_processor import SoftwareProcessor

FIRMWARE, KERNEL, INITRD = b"OVMF" * 1000, b"bzImage" * 777, b"070701" * 55
CMDLINE = "console=ttyS0 ima_policy=container"


def by_hand(cmdline: bytes, initrd: bytes, kernel: bytes) -> bytes:
    """GUIDs as they lie in memory (mixed endian), lengths in two bytes, 168 bytes and padding."""

    def entry(guid: str, content: bytes) -> bytes:
        return bytes.fromhex(guid) + b"\x32\0" + hashlib.sha256(content).digest()

    return (
        bytes.fromhex("06d63894224fc94cb479a793d411fd21") + b"\xa8\0"
        + entry("d82dd09720bd944caa78e7714d36ab2a", cmdline + b"\0")
        + entry("31f7ba442f3ad74b9af141e29169781d", initrd)
        + entry("3794e74dd2ab7f42b835d5b172d2045b", kernel)
        + bytes(8)
    )  # fmt: skip


def openssl_sm3(data: bytes) -> bytes:
    done = subprocess.run(
        ["openssl", "dgst", "-sm3", "-binary"], input=data, capture_output=True, check=True
    )
    return done.stdout


@pytest.mark.oracle
def test_digest_is_sm3_of_the_firmware_and_the_table() -> None:
    table = by_hand(CMDLINE.encode(), INITRD, KERNEL)
    assert len(table) == 176
    assert kernel_hashes(KERNEL, INITRD, CMDLINE) == table
    digest = guest_launch_digest(FIRMWARE, KERNEL, INITRD, CMDLINE)
    assert digest == openssl_sm3(FIRMWARE + table)
    assert guest_launch_digest(FIRMWARE) == openssl_sm3(FIRMWARE)


def test_t15_every_component_changes_the_digest(tmp_path: Path) -> None:
    digests = {
        guest_launch_digest(FIRMWARE, KERNEL, INITRD, CMDLINE),
        guest_launch_digest(FIRMWARE + b"\0", KERNEL, INITRD, CMDLINE),
        guest_launch_digest(FIRMWARE, KERNEL + b"\0", INITRD, CMDLINE),
        guest_launch_digest(FIRMWARE, KERNEL, INITRD + b"\0", CMDLINE),
        guest_launch_digest(FIRMWARE, KERNEL, INITRD, CMDLINE + " debug"),
        guest_launch_digest(FIRMWARE, INITRD, KERNEL, CMDLINE),
        guest_launch_digest(FIRMWARE, KERNEL),
        guest_launch_digest(FIRMWARE),
    }
    assert len(digests) == 8
    (tmp_path / "kernel").write_bytes(KERNEL)
    same = guest_launch_digest(FIRMWARE, tmp_path / "kernel", INITRD, CMDLINE)
    assert same in digests
    with pytest.raises(TeeError, match="cannot be measured"):
        guest_launch_digest(tmp_path / "none")


def test_a_guest_of_that_digest_reports_it(processor: SoftwareProcessor) -> None:
    digest = guest_launch_digest(FIRMWARE, KERNEL, INITRD, CMDLINE)
    page = processor.guest(digest).report(b"d" * 64, b"m" * 16)
    evidence = TeeEvidence("csv", page, processor.hsk_cek)
    report = tee.verify_bound(evidence, processor.hrk, b"d" * 64)
    assert (report.measurement, report.policy) == (digest, 5)
