"""Lists with containers, held against evmctl."""

import subprocess
from pathlib import Path

import pytest

from harness.framework.evidence import ima_replay
from harness.framework.evidence.ima_walk import AllowedFiles
from harness.framework.verify.containers import ContainerCheck

from .guest_list import demonstration
from .test_containers import rules
from .world import World

pytestmark = pytest.mark.oracle


def evmctl(log: bytes, pcrs: dict[int, bytes], directory: Path) -> str:
    """What evmctl says of a list and the SHA-256 values of PCRs."""
    lines = (f"PCR-{n:02d}: {pcrs.get(n, bytes(32)).hex(' ').upper()}\n" for n in range(24))
    (directory / "pcrs").write_text("".join(lines))
    (directory / "ima").write_bytes(log)
    done = subprocess.run(
        ["evmctl", "-v", "ima_measurement", "--pcrs", "sha256,pcrs", "ima"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_both_pcrs_replay_as_in_evmctl(world: World, tmp_path: Path) -> None:
    guest = demonstration(world.pcrs)
    quoted = {10: guest.pcr(10), 11: guest.pcr(11)}
    check = ContainerCheck(rules())
    both = (quoted[10], quoted[11])
    result = ima_replay.replay_domains(
        guest.binary, both, bytes(32), AllowedFiles({}), lambda *_: None, check
    )
    assert (result.matched, result.entries) == (True, len(guest.entries))
    told = evmctl(guest.binary, quoted, tmp_path)
    for pcr in (10, 11):
        assert f"sha256 PCR-{pcr}: succeed at entry {result.entries}" in told
    assert "Failed to match" in evmctl(guest.binary, {**quoted, 11: bytes(31) + b"\1"}, tmp_path)
