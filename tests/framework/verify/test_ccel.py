"""CC event logs: held against a TDX report's registers, alone and inside the verifier."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import binding, boot_events, ccel
from harness.framework.evidence.bundle import (
    Evidence,
    Quote,
    TeeEvidence,
    decode_evidence,
    encode_evidence,
)
from harness.framework.tee.csv_processor import SoftwareProcessor
from harness.framework.verify import BootRule, BootRules, Policy, encode_policy, load_policy
from harness.framework.verify.boot_rules import check_ccel

from .boot_logs import APPLICATION, DB_GUID, EVENT_TAG, GLOBAL
from .platforms import TeeWorld, tdx
from .world import World, ids, judge

LOG = (Path(__file__).parents[2] / "data" / "boot" / "CCEL_data_ovmf").read_bytes()
REGISTERS = ccel.replay(ccel.parse(LOG))
# What a report's first register is told, changed where no digest is of the data.
FREE_TEXT = LOG.index(b"Fv(XXXXXXXX")


def ccel_rules() -> BootRules:
    """What the recorded TD booted, by the digests of its images and tables."""
    events = ccel.parse(LOG)
    kinds = {0x8000000B, 0x8000000A, 0xA, APPLICATION, EVENT_TAG}
    images = {
        (event.pcr, event.kind): tuple(
            e.digests[0xC] for e in events if (e.pcr, e.kind) == (event.pcr, event.kind)
        )
        for event in events
        if event.kind in kinds
    }
    configs = (("SecureBoot", GLOBAL), ("PK", GLOBAL), ("KEK", GLOBAL), ("db", DB_GUID),
               ("dbx", DB_GUID))  # fmt: skip
    actions = ("Calling EFI Application from Boot Option", "Exit Boot Services Invocation",
               "Exit Boot Services Returned with Success")  # fmt: skip
    return BootRules(
        events=(
            *(
                BootRule(register, boot_events.type_name(kind), digests=digests)
                for (register, kind), digests in images.items()
            ),
            *(
                BootRule(1, "EV_EFI_VARIABLE_DRIVER_CONFIG", f"{name}-{guid}", value=b"")
                for name, guid in configs
            ),
            BootRule(1, "EV_EFI_VARIABLE_BOOT", "BootOrder", value=b"\0\0"),
            BootRule(1, "EV_EFI_VARIABLE_BOOT", "Boot0000", any=True),
            BootRule(2, "EV_EFI_ACTION", texts=actions),
        ),
        secure_boot=False,
        separators=(1,),
    )


def test_a_real_ccel_is_judged_by_event_against_its_registers() -> None:
    assert check_ccel(LOG, REGISTERS, ccel_rules()) == []
    assert check_ccel(LOG, REGISTERS) == []
    wrong = (*REGISTERS[:1], bytes(48), *REGISTERS[2:])
    [problem] = check_ccel(LOG, wrong)
    assert (problem.id, problem.detail[:6]) == ("boot.replay.mismatch", "RTMR 1")
    assert [p.id for p in check_ccel(LOG, REGISTERS[:3])] == ["boot.replay.mismatch"]
    assert [p.id for p in check_ccel(LOG[:100], REGISTERS)] == ["boot.log.format"]


def test_rules_for_a_ccel_name_what_is_wrong() -> None:
    rules = ccel_rules()

    def named(**changes: object) -> list[tuple[str, str]]:
        other = msgspec.structs.replace(rules, **changes)
        return [(p.id, p.detail) for p in check_ccel(LOG, REGISTERS, other)]

    assert named(secure_boot=True) == [("boot.secure_boot", "Secure Boot is off")]
    assert named(separators=(1, 2)) == [("boot.separator.missing", "RTMR 1 has no separator")]
    fewer = tuple(r for r in rules.events if r.type != "EV_EFI_BOOT_SERVICES_APPLICATION")
    [(failure, detail)] = named(events=fewer)
    assert failure == "boot.event.unknown"
    assert detail.startswith("RTMR 1 EV_EFI_BOOT_SERVICES_APPLICATION ")
    # An order of boot that the register wasn't told of.
    at = LOG.index("BootOrder".encode("utf-16-le"))
    changed = LOG[: at + 18] + b"\1" + LOG[at + 19 :]
    assert [p.id for p in check_ccel(changed, REGISTERS, rules)] == [
        "boot.event.data",
        "boot.event.missing",
    ]


class TdxWorld(TeeWorld):
    """Guests whose registers are those of the recorded log."""

    def __init__(self) -> None:
        super().__init__(tdx())
        self.page = self.page_of(binding.launch_report_data(self.claims), self.guest.measurement)

    def page_of(self, data: bytes, measurement: bytes) -> bytes:
        fields = {328 + 48 * number: value for number, value in enumerate(REGISTERS)}
        return tdx().vendor.quote(data, mrtd=measurement, version=5, td15=True, fields=fields)

    def launched(self, log: bytes) -> Evidence:
        return self.evidence(launch_report=TeeEvidence("tdx", self.page, b"", log))

    def attested(self, log: bytes, bound: bytes) -> Evidence:
        """With a fresh report that is bound to the log ``bound`` and comes with ``log``."""
        quote: Quote = self.quote()
        boot, ima = (hashlib.sha256(part).digest() for part in (self.boot.log, self.ima.binary))
        data = binding.fresh_report_data(self.nonce, quote.attest, boot, ima, bound)
        fresh = TeeEvidence("tdx", self.page_of(data, self.pod.measurement), b"", log)
        return self.evidence(
            quote=quote, launch_report=TeeEvidence("tdx", self.page, b""), fresh_report=fresh
        )


def test_a_launch_reports_log_is_judged_by_event() -> None:
    world, rules = TdxWorld(), ccel_rules()
    good, without = world.launched(LOG), world.launched(b"")
    strict = load_policy(encode_policy(world.policy(service_boot_rules=rules)))
    assert ids(judge(world, good, strict)) == set()
    assert ids(judge(world, without, strict)) == {"tee.events.missing"}
    secure = world.policy(service_boot_rules=msgspec.structs.replace(rules, secure_boot=True))
    assert ids(judge(world, good, secure)) == {"boot.secure_boot"}
    # The pod's rules say nothing of the service, but want the pod's own report.
    pods = world.policy(pod_boot_rules=msgspec.structs.replace(rules, secure_boot=True))
    assert ids(judge(world, good, pods)) == {"tee.fresh.missing"}


def test_a_log_that_nobody_asked_for_must_still_lead_to_the_registers() -> None:
    world = TdxWorld()
    assert ids(judge(world, world.launched(LOG))) == set()
    assert ids(judge(world, world.launched(b""))) == set()
    other = bytearray(LOG)
    other[LOG.index(ccel.parse(LOG)[1].digests[0xC])] ^= 1
    result = judge(world, world.launched(bytes(other)))
    [failure] = result.failures
    assert failure.id == "boot.replay.mismatch"
    assert failure.detail.startswith("CC event log: RTMR 0: ")
    assert ids(judge(world, world.launched(LOG[:100]))) == {"boot.log.format"}


def test_a_fresh_report_binds_its_log_to_the_last_byte() -> None:
    world = TdxWorld()
    policy = world.policy(require_fresh_report=True, pod_boot_rules=ccel_rules())
    assert ids(judge(world, world.attested(LOG, LOG), policy)) == set()
    assert ids(judge(world, world.attested(b"", b""), policy)) == {"tee.events.missing"}
    changed = LOG[:FREE_TEXT] + b"f" + LOG[FREE_TEXT + 1 :]
    assert ccel.replay(ccel.parse(changed)) == REGISTERS
    for sent, bound in ((changed, LOG), (b"", LOG), (LOG, b"")):
        result = judge(world, world.attested(sent, bound), policy)
        assert ids(result) == {"tee.fresh.binding"}


def test_a_fresh_report_binds_the_launch_reports_log_too() -> None:
    world = TdxWorld()
    quote = world.quote()
    boot, ima = (hashlib.sha256(part).digest() for part in (world.boot.log, world.ima.binary))
    data = binding.fresh_report_data(world.nonce, quote.attest, boot, ima, b"", LOG)
    fresh = TeeEvidence("tdx", world.page_of(data, world.pod.measurement), b"")
    changed = LOG[:FREE_TEXT] + b"f" + LOG[FREE_TEXT + 1 :]
    for log, found in (
        (LOG, set()),
        (changed, {"tee.fresh.binding"}),
        (b"", {"tee.fresh.binding"}),
    ):
        launch = TeeEvidence("tdx", world.page, b"", log)
        evidence = world.evidence(quote=quote, launch_report=launch, fresh_report=fresh)
        assert ids(judge(world, evidence)) == found


def test_what_an_endless_log_costs_is_bounded() -> None:
    world, rules = TdxWorld(), BootRules(secure_boot=False)
    event = struct.pack("<IIIH", 2, 0x80000007, 1, 0xC) + bytes(48) + struct.pack("<I", 0)
    end = len(LOG.rstrip(b"\xff"))
    endless = LOG[:end] + event * 10_000
    result = judge(world, world.launched(endless), world.policy(service_boot_rules=rules))
    assert len(result.failures) < 32
    with pytest.raises(ParseError, match="event_log"):
        decode_evidence(encode_evidence(world.launched(LOG[:end] + event * 16_000)))


def test_rules_name_registers_that_there_are() -> None:
    for rules in (BootRules((BootRule(0, "EV_IPL", any=True),)), BootRules(separators=(5,))):
        text = encode_policy(Policy("chain", pod_boot_rules=rules))
        with pytest.raises(PolicyError, match=r"pod_boot_rules: registers are 1 \(RTMR 0\) to 4"):
            load_policy(text)


@pytest.mark.parametrize(
    "asked",
    [
        {"service_boot_rules": BootRules(separators=())},
        {"pod_boot_rules": BootRules(separators=())},
        {"require_fresh_report": True},
        {"require_deep_quote": True},
    ],
)
def test_what_a_scheme_would_not_look_at_cannot_be_asked_for(asked: dict[str, Any]) -> None:
    text = encode_policy(Policy("allow-list", **asked))
    with pytest.raises(PolicyError, match=f"policy: {next(iter(asked))}: "):
        load_policy(text)


def test_a_tee_without_such_registers_has_no_such_log(processor: SoftwareProcessor) -> None:
    world = World(processor)
    report = msgspec.structs.replace(world.tee(world.page), event_log=LOG)
    result = judge(world, world.evidence(launch_report=report))
    assert ids(result) == {"boot.replay.mismatch"}
    # Nor can rules ask for one.
    assert ids(judge(world, policy=world.policy(service_boot_rules=ccel_rules()))) == set()


def test_evidence_with_a_log_has_one_encoding() -> None:
    evidence = TdxWorld().launched(LOG)
    wire = encode_evidence(evidence)
    assert decode_evidence(wire) == evidence
    at = wire.index(b"ievent_log")
    assert wire[at + 10 : at + 15] == b"\x5a" + len(LOG).to_bytes(4)
    empty = wire[: at + 10] + b"\x40" + wire[at + 15 + len(LOG) :]
    with pytest.raises(ParseError, match="event_log"):
        decode_evidence(empty)
