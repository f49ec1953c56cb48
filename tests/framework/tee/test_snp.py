"""SEV-SNP: real reports verify, every changed byte is refused, every rule can be broken."""

import datetime as dt
import ssl
import subprocess
import warnings
from functools import cache
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import PolicyError
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee import vendor_certificate, verifier
from harness.framework.tee.kinds.snp import SnpVerifier
from harness.framework.tee.report import TeeVerificationError
from harness.framework.tee.snp_format import parse_endorsement, parse_report
from harness.framework.tee.snp_rules import MinimumTcb, SnpRules
from harness.framework.verify.cache import VerificationCache

from .snp_issuer import NOW, SPLS, Leaf, SnpVendor

DATA = Path(__file__).parents[2] / "data" / "snp"
VERIFIER = SnpVerifier()
ROOTS = VERIFIER.roots
STRICT = SnpRules()
DATA_64 = bytes(range(64))
LINES = ("Milan", "Genoa", "Turin")


@cache
def vendor(line: str = "Milan") -> SnpVendor:
    return SnpVendor(line)


def real(vcek: str = "test-vcek.der", report: str = "test-report.bin") -> TeeEvidence:
    return TeeEvidence("snp", (DATA / report).read_bytes(), (DATA / vcek).read_bytes())


def real_of(line: str) -> TeeEvidence:
    """Of a real chip of that product line."""
    if line == "Milan":
        return real()
    return real(f"{line.lower()}-vcek.der", f"{line.lower()}-report.bin")


def refusal(
    evidence: TeeEvidence, root: bytes, rules: SnpRules = STRICT, now_s: float = NOW
) -> str:
    with pytest.raises(TeeVerificationError) as caught:
        VERIFIER.verify(evidence, root, rules, now_s)
    return caught.value.failure


def broken(evidence: TeeEvidence, rules: SnpRules, root: bytes | None = None) -> set[str]:
    report = VERIFIER.verify(evidence, root or vendor().ark, rules, NOW)
    return {failure for failure, _ in VERIFIER.check_rules(report, rules)}


def evidence_of(leaf: Leaf, page: bytes) -> TeeEvidence:
    return TeeEvidence("snp", page, leaf.certificates)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_the_real_report_verifies_from_amds_root_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = VERIFIER.verify(real(), ROOTS["amd-milan"], now_s=NOW)
    assert report.chip.startswith("c38427a30d4c7af9")
    assert report.policy == 0x3001F
    assert report.measurement.hex().startswith("a1f3930413247bb3")
    assert list(VERIFIER.check_rules(report, STRICT)) == []
    assert [VERIFIER.is_root_of(real(), root) for root in ROOTS.values()] == [True, False, False]
    assert isinstance(verifier("snp"), SnpVerifier)


@pytest.mark.parametrize(
    ("line", "version", "chip", "measurement", "tcb"),
    [
        ("Genoa", 2, "d2421d976f95ce0b", "de654ed1eb03b695",
         {"bootloader": 7, "tee": 0, "snp": 15, "microcode": 62}),
        ("Turin", 5, "3b42092f69c656d3", "f924dd18f168df60",
         {"fmc": 0, "bootloader": 1, "tee": 0, "snp": 2, "microcode": 71}),
    ],
)  # fmt: skip
def test_real_reports_of_later_product_lines_verify(
    line: str, version: int, chip: str, measurement: str, tcb: dict[str, int]
) -> None:
    evidence = real_of(line)
    report = VERIFIER.verify(evidence, ROOTS[f"amd-{line.lower()}"], now_s=NOW)
    assert int.from_bytes(evidence.report[:4], "little") == version
    assert report.chip.startswith(chip)
    assert report.measurement.hex().startswith(measurement)
    assert list(VERIFIER.check_rules(report, STRICT)) == []
    endorsement = parse_endorsement(vendor_certificate.parse(evidence.certificates))
    assert (endorsement.line, endorsement.tcb) == (line, tcb)
    for other in ROOTS.keys() - {f"amd-{line.lower()}"}:
        assert refusal(evidence, ROOTS[other]) == "tee.snp.chain"
    # A chip's report under another chip's certificate of the same vendor.
    crossed = msgspec.structs.replace(evidence, certificates=real().certificates)
    assert refusal(crossed, ROOTS["amd-milan"]) in {"tee.report.signature", "tee.snp.line"}


@pytest.mark.parametrize("vcek", ["test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der"])
def test_the_real_invalid_certificates_are_refused(vcek: str) -> None:
    assert refusal(real(vcek), ROOTS["amd-milan"]) == "tee.snp.chain"


def test_a_real_genoa_certificate_names_chip_and_tcb() -> None:
    """Its product has no stepping; there is no report of its chip."""
    der = ssl.PEM_cert_to_DER_cert((DATA / "vcek-genoa.pem").read_text())
    vcek = vendor_certificate.parse(der)
    endorsement = parse_endorsement(vcek)
    assert endorsement.line == "Genoa"
    assert endorsement.tcb == {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84}
    assert endorsement.chip_id is not None
    assert endorsement.chip_id.hex().startswith("0506ffba875e939c")
    evidence = TeeEvidence("snp", real().report, der)
    assert refusal(evidence, ROOTS["amd-genoa"]) == "tee.report.signature"
    assert refusal(evidence, ROOTS["amd-milan"]) == "tee.snp.chain"


@pytest.mark.oracle
def test_openssl_agrees_about_report_and_chains(tmp_path: Path) -> None:
    leaf = vendor_certificate.parse(real().certificates)
    report = parse_report(real().report)
    files = {
        "key": leaf.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "leaf": leaf.der,
        "signed": report.signed,
        "signature": report.signature,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def openssl(*arguments: str) -> int:
        command = ("openssl", *arguments)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    check = ("dgst", "-sha384", "-verify", "key", "-signature", "signature", "signed")
    assert openssl(*check) == 0
    (tmp_path / "signed").write_bytes(flip(report.signed, 3))
    assert openssl(*check) != 0
    for line in ("milan", "genoa", "turin"):
        pem = (Path(vendor_certificate.__file__).parent / "roots" / f"amd_{line}.pem").read_text()
        ask, ark, asvk = ("-----BEGIN" + part for part in pem.split("-----BEGIN")[1:])
        for name, text in (("ask", ask), ("ark", ark), ("asvk", asvk)):
            (tmp_path / name).write_text(text)
        for child in ("ark", "ask", "asvk"):
            assert openssl("verify", "-x509_strict", "-CAfile", "ark", child) == 0
        der = x509.load_pem_x509_certificate(ark.encode()).public_bytes(Encoding.DER)
        assert der == ROOTS[f"amd-{line}"]
        chain = ("verify", "-CAfile", "ark", "-untrusted", "ask", "leaf")
        assert (openssl(*chain) == 0) == (line == "milan")


@pytest.mark.parametrize("part", ["report", "certificates"])
@pytest.mark.parametrize(("line", "step"), [("Milan", 1), ("Genoa", 7), ("Turin", 3)])
def test_every_flipped_byte_of_the_real_evidence_is_refused(
    line: str, step: int, part: str
) -> None:
    evidence, memo, accepted = real_of(line), VerificationCache().memo, []
    for at in range(0, len(getattr(evidence, part)), step):
        damaged = msgspec.structs.replace(evidence, **{part: flip(getattr(evidence, part), at)})
        try:
            VERIFIER.verify(damaged, ROOTS[f"amd-{line.lower()}"], STRICT, NOW, memo)
        except TeeVerificationError as error:
            assert error.failure in VERIFIER.failures or error.failure == "tee.report.signature"
        else:
            accepted.append(at)
    assert accepted == []


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("vlek", [False, True], ids=["vcek", "vlek"])
def test_all_versions_lines_and_keys(line: str, version: int, *, vlek: bool) -> None:
    amd = vendor(line)
    leaf = amd.leaf(vlek=vlek, wrapped=version > 3)
    measurement = b"m" * 48
    page = amd.report(leaf, DATA_64, measurement=measurement, version=version)
    report = VERIFIER.verify(evidence_of(leaf, page), amd.ark, now_s=NOW)
    assert (report.tee, report.report_data, report.measurement) == ("snp", DATA_64, measurement)
    assert report.chip == leaf.chip.hex()
    assert list(VERIFIER.check_rules(report, STRICT)) == []
    assert VERIFIER.is_root_of(evidence_of(leaf, page), amd.ark)
    assert not VERIFIER.is_root_of(evidence_of(leaf, page), ROOTS[f"amd-{line.lower()}"])
    assert refusal(evidence_of(leaf, page), ROOTS[f"amd-{line.lower()}"]) == "tee.snp.chain"


@pytest.mark.parametrize("version", [0, 1, 6])
def test_other_versions_sizes_and_algorithms_are_a_format_failure(version: int) -> None:
    leaf = vendor().leaf()
    page = vendor().report(leaf, DATA_64, version=version)
    good = vendor().report(leaf, DATA_64)
    other = vendor().report(leaf, DATA_64, fields={0x34: b"\2"})
    unsigned = vendor().report(leaf, DATA_64, fields={0x48: b"\x1c"})
    for raw in (page, good[:-1], good + b"\0", b"", other, unsigned):
        assert refusal(evidence_of(leaf, raw), vendor().ark) == "tee.snp.format"


def test_a_certificate_for_another_chip_tcb_or_product_is_refused() -> None:
    amd = vendor()
    leaf, elsewhere = amd.leaf(), amd.leaf(seed=b"other chip")
    page = amd.report(leaf, DATA_64)

    def after(other: Leaf, raw: bytes = page) -> str:
        return refusal(evidence_of(other._replace(key=leaf.key), raw), amd.ark)

    assert after(elsewhere) == "tee.report.signature"
    stolen = amd.report(elsewhere._replace(chip=leaf.chip), DATA_64)
    assert after(elsewhere, stolen) == "tee.snp.chip"
    older = amd.leaf(spls=SPLS | {"microcode": 200})
    assert after(older, amd.report(older, DATA_64)) == "tee.snp.tcb"
    reserved = amd.report(leaf, DATA_64, fields={0x183: b"\1"})
    assert after(leaf, reserved) == "tee.snp.tcb"
    genoa = amd.leaf(product="Genoa-B1")
    assert after(genoa, amd.report(genoa, DATA_64)) == "tee.snp.product"
    model = amd.report(leaf, DATA_64, fields={0x188: b"\x19\x11"})
    assert after(leaf, model) == "tee.snp.product"
    unknown = amd.leaf(product="Naples-B1")
    assert after(unknown, amd.report(unknown, DATA_64)) == "tee.snp.format"
    turin = vendor("Turin").leaf()
    long_id = vendor("Turin").report(turin, DATA_64, fields={0x1B0: b"\1"})
    assert refusal(evidence_of(turin, long_id), vendor("Turin").ark) == "tee.snp.format"


def test_the_kind_of_key_must_be_the_certificates() -> None:
    amd = vendor()
    vcek, vlek = amd.leaf(), amd.leaf(vlek=True)
    for leaf, flags in ((vcek, b"\4"), (vlek, b"\0")):
        page = amd.report(leaf, DATA_64, fields={0x48: flags})
        assert refusal(evidence_of(leaf, page), amd.ark) == "tee.snp.signing_key"
    # An ASVK can't make a VCEK, and an intermediate that may not issue makes nothing.
    der = vcek.certificates[: -len(amd.ask)]
    page = amd.report(vcek, DATA_64)
    assert refusal(TeeEvidence("snp", page, der + amd.asvk), amd.ark) == "tee.snp.chain"
    powerless = amd.ca("ask", 0, issues=False)
    assert refusal(TeeEvidence("snp", page, der + powerless), amd.ark) == "tee.snp.chain"
    p256 = amd.leaf(curve=ec.SECP256R1())
    assert refusal(evidence_of(p256, page), amd.ark) == "tee.report.signature"


def test_certificates_beside_the_chain() -> None:
    amd = vendor()
    leaf = amd.leaf()
    page = amd.report(leaf, DATA_64)
    chains = {
        leaf.certificates + amd.ark: None,
        leaf.certificates + SnpVendor().ark: "tee.snp.chain",
        leaf.certificates + amd.ark + amd.ark: "tee.snp.chain",
        leaf.certificates[: -len(amd.ask)]: "tee.snp.chain",
        b"": "tee.snp.chain",
        leaf.certificates + b"\0": "tee.snp.format",
        leaf.certificates[:-1]: "tee.snp.format",
        leaf.certificates * 5: "tee.snp.format",
    }
    for chain, expected in chains.items():
        evidence = TeeEvidence("snp", page, chain)
        if expected is None:
            VERIFIER.verify(evidence, amd.ark, now_s=NOW)
        else:
            assert refusal(evidence, amd.ark) == expected
    for check in (VERIFIER.is_root_of, VERIFIER.verify):
        with pytest.raises(PolicyError, match="tee_roots"):
            check(evidence_of(leaf, page), b"no certificate")


def test_dates_and_revocation() -> None:
    amd, day = vendor(), dt.timedelta(days=1)
    leaf = amd.leaf(serial=77)
    evidence = evidence_of(leaf, amd.report(leaf, DATA_64))
    assert refusal(evidence, amd.ark, now_s=NOW + 11 * 86400) == "tee.snp.validity"
    assert refusal(evidence, amd.ark, now_s=NOW - 11 * 86400) == "tee.snp.validity"
    # As with AMD's own certificates, the ARK alone may sign lists.
    good = (amd.revocation_list("ark", (5,), day),)
    VERIFIER.verify(evidence, amd.ark, SnpRules(crls=good, require_crl=True), NOW)
    cases = {
        (amd.revocation_list("ark", (1,), day),): "tee.snp.revoked",
        (): "tee.snp.crl",
        (SnpVendor().revocation_list("ark", (5,), day),): "tee.snp.crl",
        (*good, amd.revocation_list("ask", (78,), day)): "tee.snp.crl",
    }
    for crls, expected in cases.items():
        assert refusal(evidence, amd.ark, SnpRules(crls=crls, require_crl=True)) == expected
    stale = SnpRules(crls=good, require_crl=True)
    assert refusal(evidence, amd.ark, stale, NOW + 2 * 86400) == "tee.snp.crl"
    with pytest.raises(PolicyError, match=r"tee_rules\.snp\.crls"):
        VERIFIER.verify(evidence, amd.ark, SnpRules(crls=(b"no list",)), NOW)


@pytest.mark.parametrize(
    ("at", "value", "rules", "failure"),
    [
        (0x8, (0xB001F).to_bytes(8, "little"), SnpRules(), "tee.policy"),
        (0x8, (0x7001F).to_bytes(8, "little"), SnpRules(), "tee.policy"),
        (0x8, (0x1001F).to_bytes(8, "little"), SnpRules(), "tee.policy"),
        (0x8, (0x3001F).to_bytes(8, "little"), SnpRules(forbidden_bits=1 << 16), "tee.policy"),
        (0x8, (0x3001F).to_bytes(8, "little"), SnpRules(minimum_abi=(1, 0)), "tee.snp.abi"),
        (0x30, b"\1", SnpRules(), "tee.snp.vmpl"),
        (0x4, b"\6", SnpRules(minimum_guest_svn=7), "tee.snp.guest_svn"),
        (0x40, b"\1", SnpRules(required_platform_bits=2), "tee.snp.platform"),
        (0x40, b"\1", SnpRules(forbidden_platform_bits=1), "tee.snp.platform"),
        (0x1a0, bytes(64), SnpRules(), "tee.snp.chip.masked"),
        (0x48, b"\0", SnpRules(signing_keys=("vlek",)), "tee.snp.signing_key"),
        (0x48, b"\0", SnpRules(author_keys=(bytes(48),)), "tee.snp.author"),
        (0xe0, b"\1" * 48, SnpRules(id_keys=(b"\2" * 48,)), "tee.snp.id_key"),
        (0xc0, b"\1" * 32, SnpRules(host_data=(b"\2" * 32,)), "tee.snp.host_data"),
        (0x1e0, bytes(8), SnpRules(minimum_tcb={"Milan": MinimumTcb(snp=1)}),
         "tee.snp.tcb.minimum"),
        (0x1f0, bytes(8), SnpRules(minimum_tcb={"Milan": MinimumTcb(microcode=1)}),
         "tee.snp.tcb.minimum"),
        (0x1f0, b"\0\0\1", SnpRules(), "tee.snp.tcb.minimum"),
        (0x4, b"\7", SnpRules(minimum_tcb={"Milan": MinimumTcb(tee=2)}), "tee.snp.tcb.minimum"),
    ],
)  # fmt: skip
def test_each_rule_can_be_broken(at: int, value: bytes, rules: SnpRules, failure: str) -> None:
    leaf = vendor().leaf()
    page = vendor().report(leaf, DATA_64, fields={at: value})
    assert broken(evidence_of(leaf, page), rules) == {failure}
    assert broken(evidence_of(leaf, vendor().report(leaf, DATA_64)), SnpRules()) == set()


def test_mitigations_count_at_launch_and_now() -> None:
    leaf, rules = vendor().leaf(), SnpRules(required_mitigations=5)
    cases = {
        b"\5".ljust(8, b"\0") + b"\7": set(),
        b"\5".ljust(8, b"\0") + b"\4": {"tee.snp.mitigations"},
        b"\1".ljust(8, b"\0") + b"\5": {"tee.snp.mitigations"},
    }
    for vectors, expected in cases.items():
        page = vendor().report(leaf, DATA_64, version=5, fields={0x1F8: vectors})
        assert broken(evidence_of(leaf, page), rules) == expected


def test_accepted_values_are_accepted() -> None:
    leaf = vendor().leaf()
    fields = {0x48: b"\1", 0x110: b"a" * 48, 0xE0: b"i" * 48, 0xC0: b"h" * 32}
    page = vendor().report(leaf, DATA_64, fields=fields)
    rules = SnpRules(
        minimum_abi=(0, 31),
        minimum_tcb={"Milan": MinimumTcb(4, 1, 24, 219), "Turin": MinimumTcb(fmc=255)},
        required_platform_bits=3,
        author_keys=(b"a" * 48,),
        id_keys=(b"i" * 48,),
        host_data=(b"h" * 32,),
    )
    assert broken(evidence_of(leaf, page), rules) == set()


def test_a_masked_chip_is_named_by_its_vcek_and_not_at_all_with_a_vlek() -> None:
    rules = SnpRules(allow_masked_chip=True)
    for vlek in (False, True):
        leaf = vendor().leaf(vlek=vlek)
        evidence = evidence_of(leaf, vendor().report(leaf, DATA_64, fields={0x1A0: bytes(64)}))
        assert broken(evidence, rules) == set()
        report = VERIFIER.verify(evidence, vendor().ark, rules, NOW)
        assert report.chip == ("" if vlek else leaf.chip.hex())
