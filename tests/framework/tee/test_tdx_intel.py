"""TDX quotes of versions 4 and 5 from real platforms, with the collateral that Intel gave for them."""

import datetime as dt
import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee.kinds.tdx import TdxDetails, TdxVerifier
from harness.framework.tee.report import TeeVerificationError
from harness.framework.tee.tdx_rules import TdxRules
from harness.framework.tee.tdx_verdict import Collateral
from harness.framework.verify.cache import VerificationCache

DATA = Path(__file__).parents[2] / "data" / "tdx"
VERIFIER = TdxVerifier()
INTEL = VERIFIER.roots["intel-sgx"]
# Version and body: TD report 1.0, 1.5, and 1.5 with its extension.
NAMES = ("td10_v4", "td15_v5", "td15ex_v5")
BODY_AT = {"td10_v4": 48, "td15_v5": 54, "td15ex_v5": 54}


class Given(NamedTuple):
    """A quote, Intel's statements about its platform, and a time at which all of them count."""

    quote: bytes
    collateral: Collateral
    now_s: float


def given(name: str) -> Given:
    fields = json.loads((DATA / f"{name}_collateral.json").read_bytes())
    signer = x509.load_pem_x509_certificates(fields["tcb_info_issuer_chain"].encode())[0]
    collateral = Collateral(
        tcb_infos=(served(fields, "tcb_info", "tcbInfo"),),
        qe_identity=served(fields, "qe_identity", "enclaveIdentity"),
        signer=signer.public_bytes(Encoding.DER),
        crls=tuple(bytes.fromhex(fields[name]) for name in ("root_ca_crl", "pck_crl")),
    )
    issued = json.loads(fields["tcb_info"])["issueDate"]
    now = dt.datetime.fromisoformat(issued) + dt.timedelta(days=2)
    return Given((DATA / f"{name}.dat").read_bytes(), collateral, now.timestamp())


def served(fields: dict[str, str], name: str, field: str) -> bytes:
    """A statement as Intel's service answers, from the parts that were recorded."""
    return f'{{"{field}":{fields[name]},"signature":"{fields[f"{name}_signature"]}"}}'.encode()


def judged(one: Given, **rules: Any) -> tuple[TdxDetails, set[str]]:
    own = TdxRules(**({"collateral": one.collateral} | rules))
    evidence = TeeEvidence("tdx", one.quote, b"")
    report = VERIFIER.verify(evidence, INTEL, own, one.now_s)
    assert isinstance(report.details, TdxDetails)
    return report.details, {failure for failure, _ in VERIFIER.check_rules(report, own)}


def refused(one: Given) -> set[str]:
    try:
        return judged(one)[1]
    except TeeVerificationError as error:
        return {error.failure}


@pytest.mark.parametrize(("name", "evaluation"), [("td10_v4", 17), ("td15ex_v5", 20)])
def test_an_up_to_date_platform_is_accepted_under_strict_rules(name: str, evaluation: int) -> None:
    details, failures = judged(given(name))
    assert failures == set()
    assert details.verdict is not None
    assert (details.verdict.status, details.verdict.problems) == ("UpToDate", ())
    assert details.verdict.evaluation == evaluation
    assert judged(given(name), minimum_evaluation=evaluation + 1)[1] == {
        "tee.tdx.collateral.evaluation"
    }


def test_a_platform_below_every_level_that_intel_states_is_refused() -> None:
    """Its SEAM loader has version 3, and each level of its kind asks for 5."""
    details, failures = judged(given("td15_v5"))
    assert details.platform.svns[7] == 3
    assert details.verdict is not None
    assert (details.verdict.status, details.verdict.problems) == (None, ())
    assert failures == {"tee.tdx.tcb"}


@pytest.mark.parametrize("name", NAMES)
def test_intels_word_counts_only_in_its_time_and_about_its_platform(name: str) -> None:
    one = given(name)
    untimely = {"tee.tdx.collateral.stale", "tee.tdx.crl", "tee.tdx.validity"}
    for days in (-3, 40):
        assert refused(one._replace(now_s=one.now_s + days * 86400)) & untimely
    strangers = {other for other in NAMES if other != name}
    for stranger in strangers:
        theirs = msgspec.structs.replace(
            one.collateral, tcb_infos=given(stranger).collateral.tcb_infos
        )
        same_kind = {name, stranger} == {"td10_v4", "td15ex_v5"}
        found = judged(one._replace(collateral=theirs))[1]
        assert found & {"tee.tdx.collateral.stale" if same_kind else "tee.tdx.collateral.missing"}


@pytest.mark.parametrize(("name", "step"), [("td10_v4", 13), ("td15_v5", 13), ("td15ex_v5", 5)])
def test_every_flipped_byte_is_refused(name: str, step: int) -> None:
    one, memo, accepted = given(name), VerificationCache().memo, []
    rules = TdxRules(collateral=one.collateral)
    for at in range(0, len(one.quote), step):
        damaged = one.quote[:at] + bytes([one.quote[at] ^ 1]) + one.quote[at + 1 :]
        try:
            VERIFIER.verify(TeeEvidence("tdx", damaged, b""), INTEL, rules, one.now_s, memo)
        except TeeVerificationError:
            continue
        accepted.append(at)
    assert accepted == []


def test_the_body_is_read_where_each_version_has_it() -> None:
    for name in NAMES:
        one = given(name)
        body = judged(one, require_collateral=False)[0].quote.body
        raw = one.quote[BODY_AT[name] :]
        assert body.mrtd == raw[136:184] != bytes(48)
        assert body.report_data == raw[520:584]
        assert body.attributes == int.from_bytes(raw[120:128], "little") == 1 << 28
        assert (body.vm, body.devices, body.service_td) == (0, bytes(48), bytes(48))
        assert body.later_service_tds == (bytes(48), bytes(48))
