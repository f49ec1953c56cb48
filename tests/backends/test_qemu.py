"""Guests that really boot: counts that repeat, a chain that verifies, and ends that are told."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.backends.guest_attacks import HIDING
from harness.backends.guest_files import GuestJob
from harness.backends.qemu import QemuBackend
from harness.guest import build
from harness.guest.machine import Guest, run_guest
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Arm, AttackCase, Cell, Scalar, Scenario, Workload
from harness.scenario import load_scenario

from .test_process import processes_below, wait_until

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short folder: under pytest-xdist its own would leave too little for a unix socket's name."""
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        yield Path(folder)


def workload(kind: str, timeout_s: float = 120.0, **options: Scalar) -> Workload:
    return Workload(
        "w", kind, iterations=2, warmup=1, blocks=1, options=options, timeout_s=timeout_s
    )


def scenario(of: Workload, *arms: str) -> Scenario:
    return Scenario("s", "t", 1, "qemu", arms[0], tuple(Arm(arm, arm) for arm in arms), (of,))


def request(folder: Path, of: Workload, arm: str, seed: int = 1) -> TrialRequest:
    workdir = folder / f"{arm}-{seed}"
    workdir.mkdir()
    kind = arm.removesuffix("+aa")
    return TrialRequest("t", Cell("c", "w", {}), of, Arm(arm, kind), seed, str(workdir))


def prepared(folder: Path, of: Workload, *arms: str) -> QemuBackend:
    backend = QemuBackend()
    backend.check(scenario(of, *arms))
    workdir = folder / "backend"
    workdir.mkdir()
    backend.prepare(scenario(of, *arms), workdir)
    return backend


def counts(outcome: TrialOutcome) -> dict[str, list[float]]:
    assert (outcome.status, outcome.reason) == ("ok", "")
    found: dict[str, list[float]] = {}
    for one in outcome.samples:
        if one.unit == "instructions":
            found.setdefault(one.part, []).append(one.value)
    return found


def entries(outcome: TrialOutcome) -> dict[str, float]:
    return {one.part: one.value for one in outcome.samples if one.metric == "ima_entries"}


def test_counts_repeat_exactly_and_show_the_patch(tmp_path: Path) -> None:
    files = workload("file_measurement", sizes="4KiB", ops="exec", scopes="container,second")
    backend = prepared(tmp_path, files, "ima-stock", "ima-namespaced")
    again = tmp_path / "again"
    again.mkdir()
    stock, copy, patched, repeated = backend.run_block(
        [
            request(tmp_path, files, "ima-stock"),
            request(tmp_path, files, "ima-stock+aa"),
            request(tmp_path, files, "ima-namespaced"),
            request(again, files, "ima-stock"),
        ]
    )
    assert counts(stock) == counts(repeated)
    assert stock.notes["counts_crc32"] == repeated.notes["counts_crc32"]
    assert stock.notes["salt"] != copy.notes["salt"]
    assert counts(stock) != counts(copy)
    assert entries(stock)["pcr11"] == 0 < entries(patched)["pcr11"]
    # What a second container runs is new work for the patched kernel, and none for stock.
    second = "second.exec.first.4KiB"
    assert min(counts(patched)[second]) > 1.1 * max(counts(stock)[second])
    assert processes_below(tmp_path) == []


@pytest.mark.timeout(600)
def test_the_whole_chain(tmp_path: Path) -> None:
    attestation = workload("guest_attestation")
    arms = ("software-tpm", "framework")
    backend = prepared(tmp_path, attestation, *arms)
    outcomes = backend.run_block([request(tmp_path, attestation, arm) for arm in arms])
    for outcome, trust in zip(outcomes, ("none", "emulated"), strict=True):
        assert (outcome.status, outcome.reason) == ("ok", "")
        assert outcome.notes["trust_kind"] == trust
        assert outcome.notes["attestations"] == "3"
        assert outcome.notes["containers_verified_alone"] == "2"
        items = json.loads(outcome.notes["ima_demo"])
        made = {item["cid"] for item in items if item["kind"] == "ns_create"}
        assert made == {"A", "B"}
        apart = {(item["cid"], item["path"]) for item in items if item["pcr"] == 11}
        assert {("A", "/bin/app1"), ("B", "/bin/app1")} <= apart
    reported = [one for one in outcomes[1].samples if one.part == "report"]
    assert len(reported) == 3
    emulated = backend.provenance()["emulated"]
    assert isinstance(emulated, list)
    assert "CSV secure processor" in {one["what"] for one in emulated}
    assert processes_below(tmp_path) == []


SECURITY = SOURCE / "scenarios" / "security-guest.toml"
HIDDEN = load_scenario(SECURITY)[0].workloads[0].cases


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", HIDDEN, ids=[case.case for case in HIDDEN])
def test_a_container_that_hides_is_rejected(tmp_path: Path, case: AttackCase) -> None:
    """As the scenario says of the framework; here under the plain TPM."""
    hiding = workload("guest_attestation", hide=HIDING[case.row, case.case])
    backend = prepared(tmp_path, hiding, "software-tpm")
    outcome = backend.run_trial(request(tmp_path, hiding, "software-tpm"))
    assert outcome.status == "rejected"
    assert outcome.samples == ()
    assert outcome.notes["refused_at"] == case.stage
    assert set(outcome.reason.split(",")) == set(case.failures)


@pytest.mark.parametrize("interface", ["crb", "tis"])
def test_tpm_commands_through_both_interfaces(tmp_path: Path, interface: str) -> None:
    commands = workload("guest_tpm_commands", tpm=interface)
    backend = prepared(tmp_path, commands, "software-tpm")
    outcome = backend.run_trial(request(tmp_path, commands, "software-tpm"))
    assert (outcome.status, outcome.reason) == ("ok", "")
    timed = {one.part for one in outcome.samples if one.metric == "guest_tpm_command_latency_ns"}
    assert timed == {"pcr_read", "pcr_extend", "get_random", "quote", "read_public"}


def test_a_guest_that_is_slow_is_a_timeout_and_gone(tmp_path: Path) -> None:
    boot = workload("guest_boot", timeout_s=0.5)
    backend = prepared(tmp_path, boot, "ima-stock")
    outcome = backend.run_trial(request(tmp_path, boot, "ima-stock"))
    assert (outcome.status, outcome.samples) == ("timeout", ())
    assert outcome.reason == "guest.timeout 0.5 s without DONE"
    assert processes_below(tmp_path) == []


def test_a_panic_is_told_with_its_line(tmp_path: Path) -> None:
    guest = Guest(
        console=tmp_path / "console",
        results=tmp_path / "results",
        kernel=build.build_kernels().stock,
        command_line="console=ttyS0 quiet panic=-1",
    )
    end = run_guest(guest, 60.0)
    assert end.status == "failed"
    assert end.reason.startswith("guest.panic ")
    assert "Kernel panic - not syncing" in end.reason
    assert end.console


def test_what_the_agent_complains_of_is_the_reason(tmp_path: Path) -> None:
    wrong = workload("application", names="solitaire")
    backend = prepared(tmp_path, wrong, "ima-stock")
    outcome = backend.run_trial(request(tmp_path, wrong, "ima-stock"))
    assert outcome.status == "failed"
    assert outcome.reason.startswith("guest.fail ")
    assert "solitaire" in outcome.reason


def test_nothing_survives_a_controller_that_is_killed(tmp_path: Path) -> None:
    boot = workload("guest_boot")
    backend = prepared(tmp_path, boot, "ima-stock")
    job = GuestJob(request(tmp_path, boot, "ima-stock"), backend._artifacts)
    code = (
        "import msgspec, sys; from harness.backends.guest_files import GuestJob;"
        "from harness.backends.qemu import _boot;"
        "job = msgspec.json.decode(sys.stdin.buffer.read(), type=GuestJob);"
        "_boot(job.request, job.artifacts)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    controller = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment
    )
    assert controller.stdin is not None
    controller.stdin.write(msgspec.json.encode(job))
    controller.stdin.close()
    assert wait_until(lambda: any("qemu-system" in line for line in processes_below(tmp_path)))
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    begin = time.monotonic()
    assert wait_until(lambda: processes_below(tmp_path) == [])
    assert time.monotonic() - begin < 2


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError_, match="apt-get install qemu-system-x86 swtpm"):
        QemuBackend().check(scenario(workload("guest_tpm_commands"), "software-tpm"))
