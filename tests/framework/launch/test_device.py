"""The vTPM as QEMU's TPM device, driven as QEMU drives it, and by QEMU with SeaBIOS itself."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPM2_SU, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

from harness.framework import tee
from harness.framework.deployment import Deployment, DevicePod, HostPlatform
from harness.framework.errors import FrameworkError
from harness.framework.evidence import bundle
from harness.framework.evidence.quote import QuoteInfo, parse_quote
from harness.framework.tpm import keys
from harness.framework.tpm.swtpm import Swtpm
from harness.framework.tpm.swtpm_device import SwtpmDevice
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.vtpm.device import TpmDevice

MEASUREMENT = b"m" * 32
ZERO = bytes(32)
READ_CLOCK = bytes.fromhex("80010000000a00000181")
NO_TPM = bytes.fromhex("80010000000a00000101")
INIT, SHUTDOWN, ESTABLISHED, LOCALITY, STOP, DATA_FD, BUFFER = 2, 3, 4, 5, 0x0E, 0x10, 0x11


@pytest.fixture(scope="module")
def relayed(host: HostPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(host, tmp_path_factory.mktemp("r"), relayed=True) as running:
        yield running


@pytest.fixture
def pod(relayed: Deployment, tmp_path: Path) -> Iterator[DevicePod]:
    name = f"pod-{time.monotonic_ns()}"
    with relayed.open_device(name, "ecc256", tmp_path / "tpm.sock", MEASUREMENT) as opened:
        yield opened


class Machine:
    """Speaks the control protocol as QEMU 7.2 does."""

    def __init__(self, path: Path) -> None:
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(str(path))
        self.data, theirs = socket.socketpair()
        self.data.settimeout(10)
        socket.send_fds(self.control, [struct.pack(">I", DATA_FD)], [theirs.fileno()])
        theirs.close()
        assert self.control.recv(4) == bytes(4)

    def ask(self, command: int, fields: bytes = b"", size: int = 4) -> bytes:
        self.control.sendall(struct.pack(">I", command) + fields)
        answer = self.control.recv(size, socket.MSG_WAITALL)
        assert len(answer) == size
        return answer

    def command(self, command: bytes) -> bytes:
        self.data.sendall(command)
        return self.data.recv(4096)

    @contextlib.contextmanager
    def tpm(self, start: bool = True) -> Iterator[ESAPI]:
        ectx = ESAPI(StreamTcti(self.data))
        if start:
            ectx.startup(TPM2_SU.CLEAR)
        yield ectx
        ectx.close()

    def close(self) -> None:
        self.control.close()
        self.data.close()


@pytest.fixture
def machine(pod: DevicePod) -> Iterator[Machine]:
    connected = Machine(pod.path)
    yield connected
    connected.close()


def quoted(ectx: ESAPI) -> QuoteInfo:
    ak = keys.persistent_key(ectx, keys.AK_HANDLE)
    return parse_quote(keys.quote(ectx, ak.handle, b"q" * 32, tuple(range(12)))[0])


def test_capabilities_are_what_qemu_needs_and_no_state_leaves(machine: Machine) -> None:
    (capabilities,) = struct.unpack(">Q", machine.ask(1, size=8))
    needed = (0, 1, 2, 3, 7, 10, 12, 13)
    assert all(capabilities >> bit & 1 for bit in needed)
    for bit in (4, 6, 8, 9):  # hashing, storing volatile state, getting and setting state blobs
        assert not capabilities >> bit & 1
    for command in (6, 0x0A, 0x0C, 0x0D, 0x77):
        assert machine.ask(command) == struct.pack(">I", 10)


def test_a_tpm_that_is_off_says_so_in_tpm_2_form(machine: Machine, pod: DevicePod) -> None:
    assert machine.command(READ_CLOCK) == NO_TPM
    assert machine.ask(INIT, bytes(4)) == bytes(4)
    assert machine.command(READ_CLOCK)[6:] == b"\0\0\1\0"  # TPM_RC_INITIALIZE: no Startup yet
    assert machine.ask(STOP) == bytes(4)
    assert machine.command(READ_CLOCK) == NO_TPM
    assert pod.device.failure == ""


def test_each_power_on_finds_zero_pcrs_and_the_certified_key(
    machine: Machine, pod: DevicePod
) -> None:
    counts = []
    for _ in range(3):
        assert machine.ask(INIT, bytes(4)) == bytes(4)
        with machine.tpm() as ectx:
            ak = keys.persistent_key(ectx, keys.AK_HANDLE)
            assert (ak.public, ak.name) == (pod.ak_public, pod.launched.claims.ak_name)
            values = keys.read_pcrs(ectx, tuple(range(17)))
            assert set(values.values()) == {ZERO}
            extend(ectx)
            assert keys.read_pcrs(ectx, (16,))[16] != ZERO
            counts.append(quoted(ectx).reset_count)
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    assert pod.device.power_ons == 3


def extend(ectx: ESAPI) -> None:
    value = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"d" * 32))
    ectx.pcr_extend(ESYS_TR.PCR16, TPML_DIGEST_VALUES([value]))


def test_only_the_sha256_bank_is_allocated(machine: Machine) -> None:
    machine.ask(INIT, bytes(4))
    with machine.tpm() as ectx:
        _, data = ectx.get_capability(5, 0, 1)
        banks = {bank.hash: bytes(bank.pcrSelect)[:3] for bank in data.data.assignedPCR}
        assert {bank for bank, pcrs in banks.items() if any(pcrs)} == {TPM2_ALG.SHA256}


def test_locality_buffer_and_establishment(machine: Machine) -> None:
    assert machine.ask(LOCALITY, bytes(4)) == bytes(4)
    assert machine.ask(LOCALITY, b"\4\0\0\0") == struct.pack(">I", 61)
    assert machine.ask(ESTABLISHED, size=8) == bytes(8)
    assert machine.ask(0x0B, bytes(4)) == bytes(4)
    for wanted, used in ((0, 4096), (3968, 3968), (0, 3968), (9999, 4096), (1, 1024)):
        answer = struct.unpack(">IIII", machine.ask(BUFFER, struct.pack(">I", wanted), 16))
        assert answer == (0, used, 1024, 4096)


def test_a_response_that_qemu_has_no_room_for_never_reaches_it(
    machine: Machine, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair()
    with TpmDevice(tmp_path / "big.sock", lambda: ours), theirs:
        big = Machine(tmp_path / "big.sock")
        big.ask(BUFFER, struct.pack(">I", 1024), 16)
        big.ask(INIT, bytes(4))
        theirs.sendall(struct.pack(">HI", 0x8001, 1025) + bytes(1019))
        assert big.command(READ_CLOCK) == NO_TPM
        big.close()


def test_the_next_machine_finds_a_fresh_tpm(pod: DevicePod) -> None:
    for _ in range(2):
        machine = Machine(pod.path)
        machine.ask(INIT, bytes(4))
        with machine.tpm() as ectx:
            assert keys.read_pcrs(ectx, (16,))[16] == ZERO
            extend(ectx)
        machine.ask(SHUTDOWN)
        machine.close()


def test_state_that_the_host_sets_back_is_not_loaded(
    relayed: Deployment, machine: Machine, pod: DevicePod
) -> None:
    machine.ask(INIT, bytes(4))
    state = relayed._workdir / "state" / pod.launched.claims.instance
    old = {path: path.read_bytes() for path in state.iterdir()}
    with machine.tpm():
        pass
    assert machine.ask(INIT, bytes(4)) == bytes(4)
    with machine.tpm():
        pass
    for path, content in old.items():
        path.write_bytes(content)
    assert machine.ask(INIT, bytes(4)) == bytes(4)
    assert machine.command(READ_CLOCK) == NO_TPM
    assert pod.device.failure.startswith("lost")


def test_deployments_are_for_pods_or_for_guests(
    relayed: Deployment, deployment: Deployment, tmp_path: Path
) -> None:
    with pytest.raises(FrameworkError, match="use open_device"):
        relayed.open("pod-x", "ecc256")
    with pytest.raises(FrameworkError, match="make it relayed"):
        deployment.open_device("pod-x", "ecc256", tmp_path / "s", MEASUREMENT)
    # What a service does is in its measurement: nobody takes one for the other.
    mine, theirs = relayed.policy_trust(), deployment.policy_trust()
    assert set(mine.measurements).isdisjoint(theirs.measurements)
    assert (mine.pod_measurements, len(theirs.pod_measurements)) == ((), 1)


def test_the_guest_gets_reports_of_its_own_measurement(pod: DevicePod) -> None:
    report = pod.report(b"r" * 64)
    assert bundle.encode(report)
    found = tee.verify_bound(report, pod_root(pod), b"r" * 64)
    assert (found.measurement, found.report_data) == (MEASUREMENT, b"r" * 64)


def pod_root(pod: DevicePod) -> bytes:
    return pod._guest._processor.hrk


# QEMU itself


@contextlib.contextmanager
def qemu(path: Path, model: str, tmp_path: Path) -> Iterator[socket.socket]:
    """A machine without a disk: SeaBIOS measures what it does, then waits. Gives its QMP."""
    program = shutil.which("qemu-system-x86_64")
    assert program, "qemu-system-x86 is not installed; run `make setup`"
    monitor = tmp_path / "qmp.sock"
    process = subprocess.Popen(
        [
            program, "-accel", "tcg", "-machine", "q35", "-m", "64", "-nodefaults", "-display", "none",
            "-chardev", f"socket,id=chr,path={path}", "-tpmdev", "emulator,id=t,chardev=chr",
            "-device", f"{model},tpmdev=t", "-qmp", f"unix:{monitor},server=on,wait=off",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            while True:
                try:
                    control.connect(str(monitor))
                    break
                except OSError:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            qmp(control, "qmp_capabilities")
            yield control
    finally:
        process.kill()
        process.communicate()
        monitor.unlink(missing_ok=True)


def qmp(control: socket.socket, command: str) -> None:
    control.sendall(json.dumps({"execute": command}).encode())
    answer = b""
    while b'"return"' not in answer:
        more = control.recv(4096)
        assert more
        assert b'"error"' not in more, more
        answer += more


@contextlib.contextmanager
def tpm_of(pod: DevicePod) -> Iterator[ESAPI]:
    """The TPM behind the running machine's back, as its host can reach it."""
    with pod.device._turn:
        assert pod.device._tpm is not None
        ectx = ESAPI(StreamTcti(pod.device._tpm))
        yield ectx
        ectx.close()


def wait_until_measured(pod: DevicePod) -> tuple[dict[int, bytes], QuoteInfo]:
    """PCRs 0-11 and a quote once SeaBIOS has measured its separators, of which PCR 7's is the last,
    and nothing since the reading before."""
    before: dict[int, bytes] = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception), tpm_of(pod) as ectx:
            values = keys.read_pcrs(ectx, tuple(range(12)))
            if values[7] != ZERO and values == before:
                return values, quoted(ectx)
            before = values
        time.sleep(0.2)
    raise AssertionError(f"SeaBIOS measured nothing: {pod.device.failure}")


@pytest.mark.parametrize("model", ["tpm-crb", "tpm-tis"])
def test_seabios_measures_into_the_vtpm_and_a_reset_starts_it_anew(
    pod: DevicePod, model: str, tmp_path: Path
) -> None:
    with qemu(pod.path, model, tmp_path) as control:
        first, quote = wait_until_measured(pod)
        assert first[0] != ZERO
        assert first[10] == first[11] == ZERO
        assert pod.device.power_ons == 1
        qmp(control, "system_reset")
        while pod.device.power_ons < 2:
            time.sleep(0.05)
        second, again = wait_until_measured(pod)
    assert second == first
    assert again.reset_count == quote.reset_count + 1
    assert pod.device.failure == ""


def test_the_software_twin_has_its_key_and_no_past(tmp_path: Path) -> None:
    with SwtpmDevice(tmp_path / "t", "ecc256") as twin:
        machine = Machine(twin.path)
        machine.ask(INIT, bytes(4))
        with machine.tpm() as ectx:
            ak = keys.persistent_key(ectx, keys.AK_HANDLE)
            assert ak.public == twin.ak_public
            assert set(keys.read_pcrs(ectx, tuple(range(17))).values()) == {ZERO}
            quote = quoted(ectx)
        machine.close()
    assert quote.safe
    assert set(twin.launch_stages_ns) == {"manufacture", "endorsement", "ak"}
    with Swtpm(tmp_path / "t"):  # the state is whole
        pass


def test_qemu_takes_the_software_twin(tmp_path: Path) -> None:
    with SwtpmDevice(tmp_path / "t", "ecc256") as twin, qemu(twin.path, "tpm-crb", tmp_path):
        time.sleep(0.5)
        assert twin._process.poll() is None
