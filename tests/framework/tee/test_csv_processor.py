"""The software processor keeps its key, and a guest gets only its own measurement."""

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.framework.errors import TeeError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee import sm2
from harness.framework.tee.csv_device import GuestDevice, answer, encode_request, serve_guest
from harness.framework.tee.csv_processor import (
    SoftwareGuest,
    SoftwareProcessor,
    SoftwareVendor,
    launch_digest,
    open_processor,
)
from harness.framework.tee.kinds.csv import CsvVerifier

DATA, MNONCE = bytes(64), bytes(16)


@pytest.fixture
def guest(processor: SoftwareProcessor) -> SoftwareGuest:
    return processor.launch({"code": b"service"})


@pytest.fixture
def device_path(guest: SoftwareGuest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "csv"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve_guest, args=(guest, listener))
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()


def test_processor_survives_a_restart_and_its_key_is_private(tmp_path: Path) -> None:
    first, second = open_processor(tmp_path / "psp"), open_processor(tmp_path / "psp")
    assert (first.hrk, first.serial) == (second.hrk, second.serial)
    page = second.launch({"code": b"x"}).report(DATA, MNONCE)
    CsvVerifier().verify(TeeEvidence("csv", page, first.hsk_cek), first.hrk)
    assert stat.S_IMODE((tmp_path / "psp" / "pek.key").stat().st_mode) == 0o600
    with pytest.raises(TeeError, match="cannot keep"):
        SoftwareVendor().provision(tmp_path / "psp")


def test_missing_and_damaged_processors_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TeeError, match="holds no software processor"):
        SoftwareProcessor(tmp_path)
    SoftwareVendor().provision(tmp_path)
    (tmp_path / "pek.key").write_bytes(bytes(96))
    with pytest.raises(TeeError, match="damaged"):
        SoftwareProcessor(tmp_path)


def test_launch_digest_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"vmlinuz")
    from_file = launch_digest({"kernel": tmp_path / "kernel", "cmdline": b"ro"})
    assert from_file == launch_digest({"cmdline": b"ro", "kernel": b"vmlinuz"})
    changed = [
        {"kernel": b"vmlinuz", "cmdline": b"rw"},
        {"kernel": b"vmlinux", "cmdline": b"ro"},
        {"kernel": b"vmlinuz"},
        {"kernel": b"ro", "cmdline": b"vmlinuz"},
    ]
    assert len({from_file, *map(launch_digest, changed)}) == 5
    with pytest.raises(TeeError, match="kernel cannot be measured"):
        launch_digest({"kernel": tmp_path / "none"})


def test_device_gives_the_guests_own_measurement(
    processor: SoftwareProcessor, guest: SoftwareGuest, device_path: Path
) -> None:
    with GuestDevice(device_path) as one, GuestDevice(device_path) as other:
        for device, extended in ((one, False), (other, True), (one, False)):
            page = device.report(b"d" * 64, extended=extended)
            evidence = TeeEvidence("csv", page, processor.hsk_cek)
            report = CsvVerifier().verify(evidence, processor.hrk)
            assert report.measurement == guest.measurement
            assert report.report_data == b"d" * 64


def test_device_refuses_a_wrong_request_and_goes_on(device_path: Path) -> None:
    with GuestDevice(device_path) as device:
        with pytest.raises(TeeError, match="refused"):
            device.report(b"short", MNONCE)
        assert len(device.report(DATA)) == 4096


def test_no_device_is_an_error_not_a_simulation(tmp_path: Path) -> None:
    with pytest.raises(TeeError, match="cannot be reached"):
        GuestDevice(tmp_path / "none")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        encode_request(DATA, MNONCE)[:-1],
        DATA + MNONCE + sm2.sm3(DATA),
        encode_request(DATA, MNONCE) + bytes(20),
        encode_request(DATA, MNONCE, extended=True)[:-1] + b"\1",
    ],
    ids=["empty", "short", "hash", "magic", "flags"],
)
def test_malformed_requests_are_refused(guest: SoftwareGuest, request_bytes: bytes) -> None:
    with pytest.raises(TeeError):
        answer(guest, request_bytes)
