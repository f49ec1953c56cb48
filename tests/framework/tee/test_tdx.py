"""TDX: real quotes verify, every changed byte is refused, every rule and statement can fail."""

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.errors import PolicyError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee import tdx_collateral, verifier
from harness.framework.tee.kinds.tdx import TdxDetails, TdxVerifier
from harness.framework.tee.report import TeeReport, TeeVerificationError
from harness.framework.tee.tdx_rules import TdxRules
from harness.framework.tee.tdx_verdict import Collateral
from harness.framework.verify.cache import VerificationCache

from . import tdx_issuer
from .tdx_issuer import NOW, TdxVendor

DATA = Path(__file__).parents[2] / "data"
VERIFIER = TdxVerifier()
INTEL = VERIFIER.roots["intel-sgx"]
DATA_64 = bytes(range(64))
VENDOR = TdxVendor()
DAY = dt.timedelta(days=1)
REAL = {
    "debug TD": DATA / "tdx" / "tdx_quote_4.dat",
    "Azure": DATA / "azure" / "tdx-quote.bin",
}


def evidence_of(quote: bytes) -> TeeEvidence:
    return TeeEvidence("tdx", quote, b"")


def collateral(**changes: Any) -> Collateral:
    base = Collateral(
        tcb_infos=(VENDOR.signed_json("tcbInfo", tdx_issuer.tcb_info()),),
        qe_identity=VENDOR.signed_json("enclaveIdentity", tdx_issuer.identity()),
        signer=VENDOR.signer,
        crls=(VENDOR.revocation_list("root"), VENDOR.revocation_list("authority")),
    )
    return msgspec.structs.replace(base, **changes)


STRICT = TdxRules(collateral=collateral())
BARE = TdxRules(require_collateral=False)


def refusal(
    quote: bytes, rules: TdxRules = STRICT, root: bytes | None = None, now_s: float = NOW
) -> str:
    with pytest.raises(TeeVerificationError) as caught:
        VERIFIER.verify(evidence_of(quote), root or VENDOR.root, rules, now_s)
    return caught.value.failure


def judged(quote: bytes, rules: TdxRules, now_s: float = NOW) -> tuple[TeeReport, set[str]]:
    report = VERIFIER.verify(evidence_of(quote), VENDOR.root, rules, now_s)
    return report, {failure for failure, _ in VERIFIER.check_rules(report, rules)}


def broken(quote: bytes, rules: TdxRules = STRICT) -> set[str]:
    return judged(quote, rules)[1]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("name", "chip", "found"),
    [
        ("debug TD", "df4c32a9d8d86009aaf380ec43cfcefb", {"tee.policy"}),
        ("Azure", "a1b0718ffa8e6d55fdaf5eceb03f3c72", set()),
    ],
)
def test_real_quotes_verify_from_intels_root(name: str, chip: str, found: set[str]) -> None:
    evidence = evidence_of(REAL[name].read_bytes())
    report = VERIFIER.verify(evidence, INTEL, BARE, NOW)
    assert (report.chip, len(report.measurement), len(report.rtmrs)) == (chip, 48, 4)
    assert {failure for failure, _ in VERIFIER.check_rules(report, BARE)} == found
    # Nothing is known of the platform's TCB without collateral, so that strict rules refuse.
    strict = {failure for failure, _ in VERIFIER.check_rules(report, TdxRules())}
    assert strict == found | {"tee.tdx.collateral.missing"}
    assert VERIFIER.is_root_of(evidence, INTEL)
    assert not VERIFIER.is_root_of(evidence, VENDOR.signer)
    for check in (VERIFIER.is_root_of, VERIFIER.verify):
        with pytest.raises(PolicyError, match="tee_roots"):
            check(evidence, INTEL[:-1])
    assert isinstance(verifier("tdx"), TdxVerifier)


@pytest.mark.parametrize(("name", "step"), [("debug TD", 1), ("Azure", 17)])
def test_every_flipped_byte_of_a_real_quote_is_refused(name: str, step: int) -> None:
    quote, memo, accepted = REAL[name].read_bytes(), VerificationCache().memo, []
    for at in range(0, len(quote), step):
        damaged = evidence_of(flip(quote, at))
        try:
            VERIFIER.verify(damaged, INTEL, BARE, NOW, memo)
        except TeeVerificationError as error:
            assert error.failure in VERIFIER.failures or error.failure == "tee.report.signature"
        else:
            accepted.append(at)
    assert accepted == []


@pytest.mark.oracle
def test_openssl_agrees_about_the_real_chain_and_quote(tmp_path: Path) -> None:
    report = VERIFIER.verify(evidence_of(REAL["debug TD"].read_bytes()), INTEL, BARE, NOW)
    assert isinstance(report.details, TdxDetails)
    quote = report.details.quote
    chain = [x509.load_der_x509_certificate(der) for der in quote.chain]
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
    files = {
        "leaf": chain[0].public_bytes(Encoding.PEM),
        "authority": chain[1].public_bytes(Encoding.PEM),
        "root": x509.load_der_x509_certificate(INTEL).public_bytes(Encoding.PEM),
        "key": prefix + quote.attestation_key,
        "signed": quote.signed,
        "signature": quote.signature,
        "qe": quote.qe_report.signed,
        "qe-signature": quote.qe_signature,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def openssl(*arguments: str) -> bytes:
        command = ("openssl", *arguments)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout

    openssl("verify", "-x509_strict", "-CAfile", "root", "-untrusted", "authority", "leaf")
    verify = ("dgst", "-sha256", "-verify")
    openssl(*verify, "key", "-keyform", "DER", "-signature", "signature", "signed")
    (tmp_path / "pck").write_bytes(openssl("x509", "-in", "leaf", "-noout", "-pubkey"))
    openssl(*verify, "pck", "-signature", "qe-signature", "qe")
    assert chain[2].public_bytes(Encoding.DER) == INTEL


def test_real_collateral_is_of_the_expected_form_but_not_for_these_quotes() -> None:
    info, _ = tdx_collateral.read_tcb_info((DATA / "tdx" / "tcbInfo.json").read_bytes())
    identity, _ = tdx_collateral.read_qe_identity(
        (DATA / "tdx" / "enclaveIdentity.json").read_bytes()
    )
    assert (info.fmspc, info.tcb_evaluation_data_number) == ("00A06D080000", 17)
    for path in REAL.values():
        report = VERIFIER.verify(evidence_of(path.read_bytes()), INTEL, BARE, NOW)
        assert isinstance(report.details, TdxDetails)
        assert not tdx_collateral.is_about(info, report.details.platform)
        assert list(tdx_collateral.qe_problems(identity, report.details.quote.qe_report)) == []


@pytest.mark.parametrize(("version", "td15"), [(4, False), (5, False), (5, True)])
def test_all_versions_and_bodies(version: int, *, td15: bool) -> None:
    fields = {120: b"\0\0\0\x10", 328: b"r" * 48}
    quote = VENDOR.quote(DATA_64, mrtd=b"m" * 48, version=version, td15=td15, fields=fields)
    report, found = judged(quote, STRICT)
    assert found == set()
    assert (report.report_data, report.measurement) == (DATA_64, b"m" * 48)
    assert (report.policy, report.rtmrs[0]) == (1 << 28, b"r" * 48)
    assert report.chip == tdx_issuer.PPID.hex()
    assert isinstance(report.details, TdxDetails)
    assert report.details.verdict is not None
    assert report.details.verdict.status == "UpToDate"


def test_malformed_quotes_are_a_format_failure() -> None:
    good = VENDOR.quote(DATA_64)
    wrong_version = VENDOR.quote(DATA_64, version=3)
    body_type = bytearray(VENDOR.quote(DATA_64, version=5))
    body_type[48] = 3
    for raw in (good[:-1], good + b"\1", b"", good[:48], wrong_version, bytes(body_type)):
        assert refusal(raw) == "tee.tdx.format"
    assert broken(good + bytes(64)) == set()
    for at in (2, 4, 12):  # key type, TEE, vendor
        assert refusal(flip(good, at)) == "tee.tdx.format"
    with pytest.raises(TeeVerificationError, match="beside"):
        VERIFIER.verify(TeeEvidence("tdx", good, b"\0"), VENDOR.root, STRICT, NOW)


def test_the_quotes_chain() -> None:
    other, end = TdxVendor(), 30 * DAY
    short = VENDOR.quote(DATA_64, chain=(VENDOR.pck, VENDOR.authority))
    assert broken(short) == set()
    renewed = VENDOR.certificate("root", "root", "Intel SGX Root CA", ca=1, end=2 * end, serial=9)
    assert broken(VENDOR.quote(DATA_64, chain=(VENDOR.pck, VENDOR.authority, renewed))) == set()
    no_sgx = VENDOR.certificate("pck", "authority", "Intel SGX PCK Certificate")
    powerless = VENDOR.certificate("authority", "root", "Intel SGX PCK Platform CA")
    chains: dict[tuple[bytes, ...], str] = {
        (VENDOR.pck, VENDOR.authority, other.root): "tee.tdx.chain",
        (VENDOR.pck, other.authority, VENDOR.root): "tee.tdx.chain",
        (VENDOR.pck, VENDOR.root, VENDOR.root): "tee.tdx.chain",
        (VENDOR.pck, powerless, VENDOR.root): "tee.tdx.chain",
        (VENDOR.pck,): "tee.tdx.format",
        (no_sgx, VENDOR.authority, VENDOR.root): "tee.tdx.format",
    }
    for chain, expected in chains.items():
        assert refusal(VENDOR.quote(DATA_64, chain=chain)) == expected
    assert refusal(VENDOR.quote(DATA_64), root=other.root) == "tee.tdx.chain"
    assert refusal(VENDOR.quote(DATA_64), root=INTEL) == "tee.tdx.chain"
    assert refusal(VENDOR.quote(DATA_64), now_s=NOW + 31 * 86400) == "tee.tdx.validity"


def test_the_quoting_enclave_vouches_for_the_key() -> None:
    good, other = VENDOR.quote(DATA_64), TdxVendor()
    foreign = other.quote(DATA_64, chain=(VENDOR.pck, VENDOR.authority, VENDOR.root))
    assert refusal(foreign) == "tee.tdx.qe.signature"
    assert refusal(VENDOR.quote(DATA_64, qe_fields={320: b"\1"})) == "tee.tdx.qe.binding"
    assert refusal(VENDOR.quote(DATA_64, qe_fields={352: b"\1"})) == "tee.tdx.qe.binding"
    assert refusal(flip(good, 48 + 520)) == "tee.report.signature"
    assert refusal(flip(good, 48 + 584 + 4)) == "tee.report.signature"


@pytest.mark.parametrize(
    ("fields", "changes", "failure"),
    [
        ({120: b"\1"}, {}, "tee.policy"),
        ({120: b"\x80"}, {}, "tee.policy"),
        ({123: b"\x20"}, {}, "tee.policy"),
        ({}, {"required_attributes": 1 << 28}, "tee.policy"),
        ({16: b"s" * 48}, {"mr_seams": (bytes(48),)}, "tee.tdx.seam"),
        ({184: b"s" * 48}, {"mr_config_ids": (bytes(48),)}, "tee.tdx.config"),
        ({232: b"s" * 48}, {"mr_owners": (bytes(48),)}, "tee.tdx.config"),
        ({280: b"s" * 48}, {"mr_owner_configs": (bytes(48),)}, "tee.tdx.config"),
        ({600: b"s" * 48}, {}, "tee.tdx.service_td"),
        ({376: b"s" * 48}, {"rtmrs": {1: (bytes(48),)}}, "tee.tdx.rtmr"),
        ({}, {"rtmrs": {4: (bytes(48),)}}, "tee.tdx.rtmr"),
        ({64: b"\1"}, {}, "tee.tdx.module"),
        ({112: b"\1"}, {}, "tee.tdx.module"),
        ({}, {"minimum_evaluation": 18}, "tee.tdx.collateral.evaluation"),
        ({2: b"\5"}, {}, "tee.tdx.tcb"),
        ({2: b"\4"}, {}, "tee.tdx.tcb"),
        ({0: b"\2"}, {}, "tee.tdx.tcb"),
        ({0: b"\1"}, {}, "tee.tdx.tcb"),
    ],
)
def test_each_rule_can_be_broken(
    fields: dict[int, bytes], changes: dict[str, Any], failure: str
) -> None:
    quote = VENDOR.quote(DATA_64, version=5, td15=True, fields=fields)
    assert broken(quote, msgspec.structs.replace(STRICT, **changes)) == {failure}


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({648: b"\1"}, "tee.tdx.config"),
        ({648 + 33: b"d" * 48}, "tee.tdx.config"),
        ({648 + 81: b"s" * 48}, "tee.tdx.service_td"),
        ({648 + 181: b"s" * 48}, "tee.tdx.service_td"),
        ({600: b"s" * 48}, "tee.tdx.service_td"),
    ],
)
def test_each_rule_of_the_extended_body_can_be_broken_and_relaxed(
    fields: dict[int, bytes], failure: str
) -> None:
    quote = VENDOR.quote(DATA_64, version=5, extended=True, fields=fields)
    assert broken(quote) == {failure}
    relaxed = msgspec.structs.replace(STRICT, devices=None, service_tds=None, vms=(0, 1))
    assert broken(quote, relaxed) == set()
    assert broken(VENDOR.quote(DATA_64, version=5, extended=True)) == set()


@pytest.mark.parametrize(
    ("fields", "qe_svn", "status"),
    [
        ({}, 8, "UpToDate"),
        ({2: b"\5"}, 8, "ConfigurationNeeded"),
        ({2: b"\4"}, 8, None),
        ({0: b"\2"}, 8, "OutOfDate"),
        ({0: b"\2", 2: b"\5"}, 8, "OutOfDateConfigurationNeeded"),
        ({0: b"\1"}, 8, None),
        ({}, 5, "OutOfDate"),
        ({2: b"\5"}, 6, "OutOfDateConfigurationNeeded"),
        ({}, 1, "Revoked"),
        ({}, 0, None),
        # Module version 0 is judged by the platform's own levels.
        ({1: b"\0"}, 8, "UpToDate"),
    ],
)
def test_status_is_the_worst_of_platform_module_and_enclave(
    fields: dict[int, bytes], qe_svn: int, status: str | None
) -> None:
    quote = VENDOR.quote(DATA_64, fields=fields, qe_fields={258: bytes([qe_svn])})
    report, found = judged(quote, STRICT)
    assert isinstance(report.details, TdxDetails)
    assert report.details.verdict is not None
    assert report.details.verdict.status == status
    assert found == (set() if status == "UpToDate" else {"tee.tdx.tcb"})
    if status is not None:
        accepting = msgspec.structs.replace(STRICT, accepted_statuses=(status,))
        assert broken(quote, accepting) == set()


def test_an_unknown_module_version_is_refused() -> None:
    quote = VENDOR.quote(DATA_64, fields={1: b"\2"})
    assert broken(quote) == {"tee.tdx.module", "tee.tdx.tcb"}


def test_pck_svns_count_for_the_status() -> None:
    for weaker in (tdx_issuer.sgx(pce_svn=10), tdx_issuer.sgx(svns=(4, *tdx_issuer.CPU_SVNS[1:]))):
        pck = VENDOR.certificate("pck", "authority", "Intel SGX PCK Certificate", sgx=weaker)
        quote = VENDOR.quote(DATA_64, chain=(pck, VENDOR.authority, VENDOR.root))
        assert broken(quote) == {"tee.tdx.tcb"}


@pytest.mark.parametrize(
    ("at", "value"),
    [(48, b"\x13"), (128, bytes(32)), (256, b"\3")],
    ids=["debugged", "mrsigner", "product"],
)
def test_another_enclave_than_intels_is_refused_even_without_collateral(
    at: int, value: bytes
) -> None:
    """Whoever owns a genuine platform can have an enclave of their own certified by it."""
    quote = VENDOR.quote(DATA_64, qe_fields={at: value})
    for rules in (STRICT, BARE):
        assert refusal(quote, rules) == "tee.tdx.qe.identity"


@pytest.mark.parametrize(("at", "value"), [(16, b"\1"), (48, b"\x10")], ids=["misc", "attributes"])
def test_an_enclave_must_be_as_the_collateral_says(at: int, value: bytes) -> None:
    assert broken(VENDOR.quote(DATA_64, qe_fields={at: value})) == {"tee.tdx.qe.identity"}


@pytest.mark.parametrize(
    "change",
    [
        {"mrsigner": "00" * 32},
        {"isvprodid": 3},
        {"miscselectMask": "FF"},
        {"attributes": "zz"},
        {"attributesMask": ""},
    ],
    ids=str,
)
def test_an_identity_of_another_enclave_or_form_matches_nothing(change: dict[str, Any]) -> None:
    identity = VENDOR.signed_json("enclaveIdentity", tdx_issuer.identity(**change))
    rules = TdxRules(collateral=collateral(qe_identity=identity))
    assert broken(VENDOR.quote(DATA_64), rules) == {"tee.tdx.qe.identity"}


def _signed_by_pck() -> dict[str, Any]:
    info = VENDOR.signed_json("tcbInfo", tdx_issuer.tcb_info(), "pck")
    return {"tcb_infos": (info,)}


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        (_signed_by_pck, "tee.tdx.collateral.signature"),
        (lambda: {"signer": VENDOR.pck}, "tee.tdx.collateral.signature"),
        (lambda: {"signer": TdxVendor().signer}, "tee.tdx.collateral.signature"),
        (lambda: {"tcb_infos": ()}, "tee.tdx.collateral.missing"),
        (
            lambda: {
                "tcb_infos": (
                    VENDOR.signed_json("tcbInfo", tdx_issuer.tcb_info(fmspc="00906ED50001")),
                )
            },
            "tee.tdx.collateral.missing",
        ),
        (
            lambda: {
                "qe_identity": VENDOR.signed_json(
                    "enclaveIdentity", tdx_issuer.identity(nextUpdate="2025-10-01T00:00:00Z")
                )
            },
            "tee.tdx.collateral.stale",
        ),
        (
            lambda: {
                "tcb_infos": (
                    VENDOR.signed_json(
                        "tcbInfo", tdx_issuer.tcb_info(issueDate="2030-10-01T00:00:00Z")
                    ),
                )
            },
            "tee.tdx.collateral.stale",
        ),
        (
            lambda: {
                "crls": (
                    VENDOR.revocation_list("root", (4,)),
                    VENDOR.revocation_list("authority"),
                )
            },
            "tee.tdx.collateral.signature",
        ),
    ],
)
def test_bad_collateral_is_refused(changes: Callable[[], dict[str, Any]], failure: str) -> None:
    rules = TdxRules(collateral=collateral(**changes()))
    assert failure in broken(VENDOR.quote(DATA_64), rules)


def test_every_flipped_byte_of_the_statements_is_refused() -> None:
    quote, good = VENDOR.quote(DATA_64), collateral()
    for name in ("tcb_infos", "qe_identity"):
        text = good.tcb_infos[0] if name == "tcb_infos" else good.qe_identity
        for at in range(0, len(text), 7):
            changed: Any = flip(text, at)
            if changed.lower() == text.lower():
                continue  # hexadecimal digits have two spellings
            changed = (changed,) if name == "tcb_infos" else changed
            rules = TdxRules(collateral=msgspec.structs.replace(good, **{name: changed}))
            try:
                assert broken(quote, rules), (name, at)
            except PolicyError as error:
                assert "tee_rules.tdx.collateral" in str(error)


def test_revocation() -> None:
    quote = VENDOR.quote(DATA_64)
    root, authority = VENDOR.revocation_list("root"), VENDOR.revocation_list("authority")
    cases = {
        (root, VENDOR.revocation_list("authority", (3,))): "tee.tdx.revoked",
        (VENDOR.revocation_list("root", (2,)), authority): "tee.tdx.revoked",
        (root,): "tee.tdx.crl",
        (authority,): "tee.tdx.crl",
        (root, TdxVendor().revocation_list("authority")): "tee.tdx.crl",
    }
    for crls, expected in cases.items():
        assert refusal(quote, TdxRules(collateral=collateral(crls=crls))) == expected
    assert refusal(quote, STRICT, now_s=NOW + 2 * 86400) == "tee.tdx.crl"


def test_unreadable_collateral_is_the_policys_fault() -> None:
    bad: tuple[dict[str, Any], ...] = (
        {"tcb_infos": (b"{}",)},
        {"qe_identity": b"[]"},
        {"signer": b"\0"},
        {"crls": (b"\0",)},
    )
    for changes in bad:
        with pytest.raises(PolicyError, match=r"tee_rules\.tdx\.collateral"):
            judged(VENDOR.quote(DATA_64), TdxRules(collateral=collateral(**changes)))
