"""CSV reports: real ones verify, every changed byte is refused, emulated ones differ by root."""

import contextlib
import random
import struct
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee import csv_format, sm2, verifier
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor
from harness.framework.tee.kinds.csv import CsvVerifier
from harness.framework.tee.report import TeeVerificationError
from harness.framework.verify.cache import VerificationCache

VERIFIER = CsvVerifier()
DATA, MNONCE = bytes(range(64)), bytes(range(16))


def failure(evidence: TeeEvidence, root: bytes) -> str:
    with pytest.raises(TeeVerificationError) as caught:
        VERIFIER.verify(evidence, root)
    return caught.value.failure


def evidence_of(processor: SoftwareProcessor, *, extended: bool = False) -> TeeEvidence:
    page = processor.launch({"code": b"service"}).report(DATA, MNONCE, extended=extended)
    return TeeEvidence("csv", page, processor.hsk_cek)


def flip(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def test_real_report_verifies_from_hygons_root(
    real_evidence: TeeEvidence, real_root: bytes
) -> None:
    report = VERIFIER.verify(real_evidence, real_root)
    assert report.report_data == b"user data".ljust(64, b"\0")
    assert report.chip == "NZA9T14052605"
    assert report.policy == 0x40000001
    assert report.measurement.hex().startswith("1178dadbf826ec7a")
    assert VERIFIER.is_root_of(real_evidence, real_root)


def test_registry_knows_csv_and_nothing_it_cannot_check() -> None:
    assert isinstance(verifier("csv"), CsvVerifier)
    assert verifier("sgx") is None


def test_flipped_bits_of_the_real_page_are_refused(
    real_evidence: TeeEvidence, real_root: bytes
) -> None:
    positions = [*random.Random(1).sample(range(2548), 100), 184, 188, 2547, 2548, 4095]
    for at in positions:
        damaged = msgspec.structs.replace(
            real_evidence, report=flip(real_evidence.report, at, 1 << at % 8)
        )
        assert failure(damaged, real_root).startswith("tee."), at


def test_flipped_bits_of_the_real_certificates_are_refused(
    real_evidence: TeeEvidence, real_root: bytes
) -> None:
    for at in random.Random(2).sample(range(2916), 80):
        damaged = msgspec.structs.replace(
            real_evidence, certificates=flip(real_evidence.certificates, at, 1 << at % 8)
        )
        assert failure(damaged, real_root).startswith("tee."), at


@pytest.mark.parametrize("extended", [False, True], ids=["v1", "v2"])
def test_software_report_verifies_with_the_same_code(
    processor: SoftwareProcessor, *, extended: bool
) -> None:
    evidence = evidence_of(processor, extended=extended)
    report = VERIFIER.verify(evidence, processor.hrk)
    assert report.report_data == DATA
    assert report.chip == processor.serial
    assert report.policy == 0x5
    assert len(report.rtmrs) == (5 if extended else 0)
    assert csv_format.parse_report(evidence.report).version == (2 if extended else 1)


def test_software_report_fails_against_hygons_root(
    processor: SoftwareProcessor, real_root: bytes, real_evidence: TeeEvidence
) -> None:
    evidence = evidence_of(processor)
    assert failure(evidence, real_root) == "tee.chain.hsk"
    assert not VERIFIER.is_root_of(evidence, real_root)
    # Even where the software vendor claims Hygon's key id.
    claimed = evidence.certificates[:20] + real_root[4:20] + evidence.certificates[36:]
    assert VERIFIER.is_root_of(msgspec.structs.replace(evidence, certificates=claimed), real_root)
    assert (
        failure(msgspec.structs.replace(evidence, certificates=claimed), real_root)
        == "tee.chain.hsk"
    )
    assert failure(real_evidence, processor.hrk) == "tee.chain.hsk"


def test_certificates_of_another_chip_are_refused(
    vendor: SoftwareVendor, processor: SoftwareProcessor, tmp_path: Path
) -> None:
    other = vendor.provision(tmp_path / "other")
    evidence = TeeEvidence("csv", evidence_of(processor).report, other.hsk_cek)
    assert failure(evidence, processor.hrk) == "tee.chain.pek"


def test_cek_of_another_vendor_and_a_damaged_root_are_refused(
    processor: SoftwareProcessor, tmp_path: Path
) -> None:
    other = SoftwareVendor().provision(tmp_path / "other")
    mixed = processor.hsk_cek[: csv_format.CA_SIZE] + other.hsk_cek[csv_format.CA_SIZE :]
    evidence = evidence_of(processor)
    assert failure(TeeEvidence("csv", evidence.report, mixed), processor.hrk) == "tee.chain.cek"
    assert failure(evidence, flip(processor.hrk, 40)) == "tee.chain.root"


def test_mnonce_serial_and_signature_are_each_checked(processor: SoftwareProcessor) -> None:
    evidence = evidence_of(processor, extended=True)

    def after(at: int) -> str:
        report = flip(evidence.report, at)
        return failure(msgspec.structs.replace(evidence, report=report), processor.hrk)

    assert after(1024) == "tee.report.signature"
    assert after(180) == "tee.report.signature"
    assert after(1168 + 2084) == "tee.report.mac"
    assert after(4000) == "tee.csv.format"


def test_v1_fields_move_together_so_only_report_data_pin_the_mask(
    processor: SoftwareProcessor,
) -> None:
    """The signature covers masked bytes: whoever changes the mask shifts every field alike."""
    page = evidence_of(processor).report
    delta = b"\1\0\0\0"
    mask = csv_format.unmask(page[188:192], delta)
    usage = csv_format.unmask(page[180:188], delta)
    identity = csv_format.unmask(page[336:2484], delta)
    mnonce = csv_format.unmask(page[128:144], mask)
    covered = identity + page[2484:2516]
    forged = page[:180] + usage + mask + page[192:336] + covered
    forged = (forged + sm2.hmac_sm3(mnonce, covered)).ljust(4096, b"\0")
    report = VERIFIER.verify(TeeEvidence("csv", forged, processor.hsk_cek), processor.hrk)
    assert report.policy == 0x5 ^ 1
    assert report.report_data != DATA


@pytest.mark.parametrize("size", [0, 2548, 4095, 4097])
def test_pages_of_a_wrong_size_are_a_format_failure(
    processor: SoftwareProcessor, size: int
) -> None:
    assert failure(TeeEvidence("csv", bytes(size), processor.hsk_cek), processor.hrk) == (
        "tee.csv.format"
    )


def test_only_what_was_not_seen_is_checked_again(
    processor: SoftwareProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, calls = VerificationCache(), Mock(wraps=sm2.verify)
    monkeypatch.setattr(sm2, "verify", calls)
    first, second = evidence_of(processor), evidence_of(processor)
    expected_calls = [(first, 5), (first, 0), (second, 1)]
    for evidence, expected in expected_calls:
        calls.reset_mock()
        VERIFIER.verify(evidence, processor.hrk, memo=cache.memo)
        assert calls.call_count == expected
    with pytest.raises(TeeVerificationError):
        VERIFIER.verify(first, flip(processor.hrk, 40), memo=cache.memo)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 4095), st.sampled_from([832, 2084, 4096]))
def test_parsers_raise_only_parse_errors(noise: bytes, at: int, size: int) -> None:
    raw = bytearray(struct.pack("<I", 3) * (size // 4))
    raw[at : at + len(noise)] = noise
    for parse in (
        csv_format.parse_ca_certificate,
        csv_format.parse_certificate,
        csv_format.parse_report,
    ):
        with contextlib.suppress(ParseError):
            parse(bytes(raw))
