"""CSV reports: real ones verify, every changed byte is refused, emulated ones differ by root."""

import contextlib
import json
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
from harness.framework.tee.kinds.csv import CsvRules, CsvVerifier
from harness.framework.tee.report import TeeVerificationError
from harness.framework.verify.cache import VerificationCache

VERIFIER = CsvVerifier()
DATA_DIR = Path(__file__).parents[2] / "data" / "csv"
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


@pytest.mark.parametrize("part", ["report", "certificates"])
def test_every_flipped_byte_of_the_real_evidence_is_refused(
    real_evidence: TeeEvidence, real_root: bytes, part: str
) -> None:
    whole, memo, accepted = getattr(real_evidence, part), VerificationCache().memo, []
    for at in range(len(whole)):
        damaged = msgspec.structs.replace(real_evidence, **{part: flip(whole, at, 1 << at % 8)})
        try:
            VERIFIER.verify(damaged, real_root, memo=memo)
        except TeeVerificationError as error:
            assert error.failure in VERIFIER.failures or error.failure == "tee.report.signature"
        else:
            accepted.append(at)
    assert accepted == []


def test_hygons_root_is_pinned(real_root: bytes, real_evidence: TeeEvidence) -> None:
    assert VERIFIER.roots == {"hygon": real_root}
    assert VERIFIER.verify(real_evidence, VERIFIER.roots["hygon"]).chip == "NZA9T14052605"


def as_attester_sends(page: bytes, *, extended: bool) -> bytes:
    """Confidential Containers' form: PEK and serial unmasked in place, the spare bytes cleared."""
    at = 1168 if extended else 336
    mask = bytes(4) if extended else page[188:192]
    identity = csv_format.unmask(page[at : at + 2148], mask)
    return page[:at] + identity + bytes(32) + page[at + 2180 :]


@pytest.mark.parametrize("extended", [False, True], ids=["v1", "v2"])
def test_pages_of_another_attester_need_the_rule_that_allows_them(
    processor: SoftwareProcessor, *, extended: bool
) -> None:
    good = evidence_of(processor, extended=extended)
    sent = msgspec.structs.replace(good, report=as_attester_sends(good.report, extended=extended))
    assert failure(sent, processor.hrk) == "tee.report.mac"
    relaxed, memo = CsvRules(require_mac=False), VerificationCache().memo
    report = VERIFIER.verify(sent, processor.hrk, relaxed, memo=memo)
    assert report == VERIFIER.verify(good, processor.hrk, relaxed)
    # A cache must not carry what a lenient policy accepted over to a strict one.
    with pytest.raises(TeeVerificationError, match="mnonce"):
        VERIFIER.verify(sent, processor.hrk, memo=memo)
    spare = (1168 if extended else 336) + 2150
    damaged = msgspec.structs.replace(sent, report=flip(sent.report, spare))
    with pytest.raises(TeeVerificationError, match="spare"):
        VERIFIER.verify(damaged, processor.hrk, relaxed)


def coco_page() -> bytes:
    """The page behind real evidence of Confidential Containers, field by field from its JSON."""
    evidence = json.loads((DATA_DIR / "coco-evidence.json").read_bytes())
    report, pek = evidence["attestation_report"], evidence["cert_chain"]["pek"]
    body, data = report["body"], pek["body"]["data"]
    names = ("user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure")
    page = b"".join(bytes(body[name]) for name in names)
    words = (body["policy"], report["sig_usage"], report["sig_algo"], report["anonce"])
    page += struct.pack("<4I", *words) + bytes(report["sig"]["r"] + report["sig"]["s"])
    firmware, public = data["firmware"], data["pubkey"]
    head = (pek["body"]["ver"], firmware["major"], firmware["minor"], data["reserved1"])
    page += struct.pack("<IBBHII", *head, public["usage"], public["algo"])
    key = public["key"]
    page += struct.pack("<I", key["g"]) + bytes(key["x"] + key["y"])
    page += struct.pack("<H", data["uid_size"]) + bytes(data["user_id"] + data["sid"])
    page += bytes(data["reserved2"])
    for slot in pek["sigs"]:
        signature = slot["signature"]["r"] + slot["signature"]["s"] + slot["_reserved"]
        page += struct.pack("<II", slot["usage"], slot["algo"]) + bytes(signature)
    return (page + bytes(evidence["serial_number"])).ljust(4096, b"\0")


def test_a_real_page_with_its_signer_in_clear_is_read() -> None:
    report = csv_format.parse_report(coco_page())
    pek = csv_format.parse_certificate(report.pek)
    assert sm2.verify(pek.public, pek.user_id, report.signed, report.signature)
    assert report.serial.rstrip(b"\0") == b"NZA9T01021905"
    assert (report.version, report.policy, report.signature_usage) == (1, 1, 0x1002)
    assert report.report_data.endswith(bytes(16))


def test_registers_must_have_accepted_values(processor: SoftwareProcessor) -> None:
    for extended in (True, False):
        report = VERIFIER.verify(evidence_of(processor, extended=extended), processor.hrk)
        good = CsvRules(rtmrs={0: (report.measurement,), 4: (bytes(32),)})
        bad = CsvRules(rtmrs={1: (b"\1" * 32,)})
        for rules, found in ((good, not extended), (bad, True)):
            failures = {name for name, _ in VERIFIER.check_rules(report, rules)}
            assert failures == ({"tee.csv.rtmr"} if found else set())


def test_the_serial_number_is_a_claim_but_the_chips_certificate_is_not(
    processor: SoftwareProcessor,
) -> None:
    """Whoever knows the mnonce, which the report holds, can make a MAC over another serial."""
    page = evidence_of(processor, extended=True).report
    at = 1168 + 2084
    covered = page[1168:at] + b"OTHER".ljust(64, b"\0") + page[at + 64 : at + 96]
    forged = page[:1168] + covered + sm2.hmac_sm3(page[128:144], covered) + page[at + 128 :]
    report = VERIFIER.verify(TeeEvidence("csv", forged, processor.hsk_cek), processor.hrk)
    genuine = VERIFIER.verify(evidence_of(processor), processor.hrk)
    assert (report.chip, genuine.chip) == ("OTHER", processor.serial)
    assert report.platform == genuine.platform


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
