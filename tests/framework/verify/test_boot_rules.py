"""Boots judged by event, with events as OVMF, GRUB and systemd's stub write them (T10, T15)."""

import hashlib
import json
import struct
import subprocess
import uuid
from pathlib import Path

import msgspec
import pytest

from harness.framework.errors import PolicyError
from harness.framework.evidence import boot_event_log, boot_events
from harness.framework.verify import BootRule, BootRules, encode_policy, load_policy
from harness.framework.verify.boot_rules import check_boot

from .boot_logs import (
    ACTION,
    APPLICATION,
    CRTM,
    DB_GUID,
    DRIVER_CONFIG,
    GLOBAL,
    GPT,
    IPL,
    NO_ACTION,
    SEPARATOR,
    VARIABLE_BOOT,
    event,
    header,
    variable,
)
from .world import World, ids, judge

DISK = "8a7bd3a2-9f3c-4b9f-8c65-0e6f2b1a1a11"
GPT_DATA = b"EFI PART" + bytes(48) + uuid.UUID(DISK).bytes_le + bytes(28)
SHIM, LINUX, INITRD = b"shim.efi", b"kernel", b"initrd"
COMMAND = "linux /vmlinuz ro quiet"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


SECURE_BOOT = event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1"))
EVENTS = [
    event(0, NO_ACTION, b"StartupLocality\0\3"),
    event(0, CRTM, b"v1\0\0"),
    SECURE_BOOT,
    event(7, DRIVER_CONFIG, variable("db", b"certificates", DB_GUID)),
    event(1, VARIABLE_BOOT, variable("BootOrder", b"\1\0\2\0"), hashed=b"\1\0\2\0"),
    event(4, ACTION, b"Calling EFI Application from Boot Option"),
    *(event(pcr, SEPARATOR, bytes(4)) for pcr in range(8)),
    event(5, GPT, GPT_DATA),
    event(4, APPLICATION, b"some device path", hashed=SHIM),
    event(8, IPL, f"grub_cmd: {COMMAND}\0".encode(), hashed=COMMAND.encode()),
    event(11, IPL, ".linux\0".encode("utf-16-le"), hashed=b".linux\0"),
    event(11, IPL, ".linux\0".encode("utf-16-le"), hashed=LINUX),
    event(11, IPL, ".initrd\0".encode("utf-16-le"), hashed=b".initrd\0"),
    event(11, IPL, ".initrd\0".encode("utf-16-le"), hashed=INITRD),
    event(12, IPL, "quiet\0".encode("utf-16-le")),
]
RULES = BootRules(
    events=(
        BootRule(0, "EV_S_CRTM_VERSION", any=True),
        BootRule(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "SecureBoot", value=b"\1"),
        BootRule(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", f"db-{DB_GUID}", value=b"certificates"),
        BootRule(1, "EV_EFI_VARIABLE_BOOT", "BootOrder", any=True),
        BootRule(4, "EV_EFI_ACTION", texts=("Calling EFI Application from Boot Option",)),
        BootRule(5, "EV_EFI_GPT_EVENT", DISK, any=True),
        BootRule(4, "EV_EFI_BOOT_SERVICES_APPLICATION", digests=(sha(b"old"), sha(SHIM))),
        BootRule(8, "EV_IPL", texts=(COMMAND,)),
        BootRule(11, "EV_IPL", ".linux", digests=(sha(LINUX),)),
        BootRule(11, "EV_IPL", ".initrd", digests=(sha(INITRD),)),
        BootRule(12, "EV_IPL", texts=("quiet",)),
        BootRule(14, "EV_IPL", any=True, optional=True),
    )
)


def found(events: list[bytes], rules: BootRules = RULES) -> list[tuple[str, str]]:
    log = boot_event_log.parse(header([0xB]) + b"".join(events))
    return [(problem.id, problem.detail) for problem in check_boot(log, rules)]


def with_event(number: int, *changed: bytes) -> list[bytes]:
    return [*EVENTS[:number], *changed, *EVENTS[number + 1 :]]


def test_boot_that_the_rules_describe_is_accepted() -> None:
    assert found(EVENTS) == []
    assert found([*EVENTS, event(14, IPL, b"MokList\0", hashed=b"keys")]) == []


UNKNOWN, DATA = "boot.event.unknown", "boot.event.data"
DIGEST, VALUE, MISSING = "boot.event.digest", "boot.event.value", "boot.event.missing"
OFF = "boot.secure_boot"
BAD: list[tuple[str, list[bytes], list[str]]] = [
    ("Secure Boot off", with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b"\0"))),
     [VALUE, MISSING, OFF]),
    ("as OVMF says it", with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b""))),
     [VALUE, MISSING, OFF]),
    # The digest is that of an event which says that it is off.
    ("Secure Boot claimed", with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1"),
     hashed=variable("SecureBoot", b"\0"))), [DATA, MISSING, OFF]),
    ("another's SecureBoot",
     with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1", DB_GUID))), [OFF]),
    ("variable torn", with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1")[:-1])),
     [UNKNOWN, MISSING, OFF]),
    ("not measured", with_event(2), [MISSING, OFF]),
    ("other db", with_event(3, event(7, DRIVER_CONFIG, variable("db", b"more", DB_GUID))),
     [VALUE, MISSING]),
    ("db of another vendor", with_event(3, event(7, DRIVER_CONFIG, variable("db", b"certificates"))),
     [UNKNOWN, MISSING]),
    ("other boot order", with_event(4, event(1, VARIABLE_BOOT, variable("BootOrder", b"\1\0"),
     hashed=b"\2\0")), [DATA, MISSING]),
    ("other shim", with_event(15, event(4, APPLICATION, b"some device path", hashed=b"evil")),
     [DIGEST, MISSING]),
    ("second program", [*EVENTS, event(4, APPLICATION, b"", hashed=b"evil")], [DIGEST]),
    ("other disk", with_event(14, event(5, GPT, GPT_DATA[:56] + bytes(44))), [UNKNOWN, MISSING]),
    ("disk claimed", with_event(14, event(5, GPT, GPT_DATA, hashed=bytes(100))), [DATA, MISSING]),
    ("other command", with_event(16, event(8, IPL, f"grub_cmd: {COMMAND}\0".encode(), hashed=b"x")),
     [DIGEST, MISSING]),
    ("sections swapped", [*EVENTS[:18], EVENTS[20], EVENTS[19], EVENTS[18], *EVENTS[21:]],
     [DIGEST, DIGEST, MISSING, MISSING]),
    ("kernel not announced", with_event(17), [UNKNOWN, MISSING]),
    ("more on the command line", with_event(21, event(12, IPL, "quiet init=/x\0".encode("utf-16-le"))),
     [DIGEST, MISSING]),
    ("event of another PCR", [*EVENTS, event(9, CRTM, b"v1\0\0")], [UNKNOWN]),
    ("no separator", with_event(8), ["boot.separator.missing"]),
    ("second separator", [*EVENTS, event(2, SEPARATOR, bytes(4))], ["boot.separator.repeated"]),
    ("firmware error", with_event(8, event(2, SEPARATOR, b"\1\0\0\0")), ["boot.separator.value"]),
    ("separator of other data", with_event(8, event(2, SEPARATOR, bytes(4), hashed=b"\1\0\0\0")),
     [DATA]),
]  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_every_other_boot_is_refused_for_its_reason(
    events: list[bytes], expected: list[str]
) -> None:
    assert [failure for failure, _ in found(events)] == expected


def test_the_detail_says_which_event() -> None:
    off = with_event(2, event(7, DRIVER_CONFIG, variable("SecureBoot", b"\0")))
    assert found(off)[:2] == [
        (VALUE, "PCR 7 EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot is 00"),
        (MISSING, "no event PCR 7 EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"),
    ]


AUTHORITY = 0x800000E0


def test_an_event_called_another_name_is_judged_by_its_digest() -> None:
    """A TPM isn't told types: an attacker may write any into the log."""
    evil = event(4, APPLICATION, b"", hashed=b"evil")
    for kind in (IPL, ACTION, VARIABLE_BOOT, 6, 0xFFFF):
        named = event(4, kind, b"", hashed=b"evil")
        assert len(found([*EVENTS, named])) == len(found([*EVENTS, evil])) == 1
    opened = msgspec.structs.replace(RULES, events=(*RULES.events, BootRule(4, "EV_IPL", any=True)))
    assert [f for f, _ in found([*EVENTS, event(4, IPL, b"", hashed=b"evil")], opened)] == []


def test_secure_boot_cannot_be_claimed_by_who_was_booted_without_it() -> None:
    """What says that it is off gets a type for which anything goes; root extends PCR 7 itself."""
    anything = BootRule(7, "EV_EFI_VARIABLE_AUTHORITY", any=True, optional=True)
    rules = msgspec.structs.replace(RULES, events=(*RULES.events, anything))
    for value in (b"", b"\0"):
        off = event(7, AUTHORITY, variable("SecureBoot", value))
        claimed = [*EVENTS[:2], off, *EVENTS[3:], SECURE_BOOT]
        assert [failure for failure, _ in found(claimed, rules)] == [OFF]
    unsaid = [*EVENTS[:2], *EVENTS[3:], SECURE_BOOT]
    assert [failure for failure, _ in found(unsaid, rules)] == [OFF]
    assert found(EVENTS, rules) == []


def test_separators_and_secure_boot_are_asked_for_by_default() -> None:
    assert [failure for failure, _ in found([], BootRules())] == [
        *["boot.separator.missing"] * 8, OFF,
    ]  # fmt: skip
    assert found([], BootRules(secure_boot=False, separators=())) == []


COMMAND_LINE = " console=ttyS0 console=tty0 efi=debug "
# PCRs of Fedora 37 under OVMF, from the dump of its event log in the tests of tpm2-tools (775ea6e).
FEDORA_PCRS = {
    2: "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
    5: "a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0",
    7: "b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439",
    12: "73b2090e3e72430531e7bc7d63e88826891ef4e04d6c1e250dc5c52db24f2f48",
}


def test_rules_know_the_events_of_a_real_boot_by_what_it_extended() -> None:
    """Only PCRs whose events have their whole data in the dump; the TPM vouches for the digests."""
    empty = [
        ("SecureBoot", GLOBAL),
        ("PK", GLOBAL),
        ("KEK", GLOBAL),
        ("db", DB_GUID),
        ("dbx", DB_GUID),
    ]
    command = event(12, IPL, f"{COMMAND_LINE}\0".encode("utf-16-le"))
    left = ("Exit Boot Services Invocation", "Exit Boot Services Returned with Success")
    events = [
        *(event(7, DRIVER_CONFIG, variable(name, b"", guid)) for name, guid in empty),
        *(event(pcr, SEPARATOR, bytes(4)) for pcr in (7, 2, 5)),
        command, command, *(event(5, ACTION, text.encode()) for text in left),
    ]  # fmt: skip
    values = boot_event_log.replay(boot_event_log.parse(header([0xB]) + b"".join(events)))
    assert {pcr: value.hex() for pcr, value in values.items()} == FEDORA_PCRS
    rules = BootRules(
        events=(
            *(
                BootRule(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", f"{name}-{guid}", value=b"")
                for name, guid in empty
            ),
            BootRule(12, "EV_IPL", texts=(COMMAND_LINE,)),
            BootRule(5, "EV_EFI_ACTION", texts=left),
        ),
        separators=(2, 5, 7),
    )
    assert [failure for failure, _ in found(events, rules)] == [OFF]


def test_secure_boot_is_told_by_the_digests_that_real_machines_have() -> None:
    on = "ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e"
    off = "ce9ce386b52e099f3019e512a0d6062d6b560efe4ff3e5661c7525e2f9c263df"
    for value, expected in ((b"\1", on), (b"", off)):
        assert sha(boot_events.variable_data("SecureBoot", GLOBAL, value)).hex() == expected


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"pcr": 24, "type": "EV_IPL"}, "pcr"),
        ({"pcr": 4, "type": "EV_IP"}, "PCR 4 EV_IP: no such event type"),
        ({"pcr": 4, "type": "EV_IPL"}, "PCR 4 EV_IPL: give value, digests or texts, or else any"),
        ({"pcr": 4, "type": "EV_IPL", "texts": ["a"], "any": True}, "or else any"),
        ({"pcr": 4, "type": "EV_IPL", "value": ""}, "value: only of a named variable"),
        (
            {"pcr": 4, "type": "EV_EFI_BOOT_SERVICES_APPLICATION", "name": "shim", "any": True},
            "name: events of",
        ),
        ({"pcr": 4, "type": "EV_IPL", "digest": ""}, "digest"),
    ],
)
def test_rules_that_can_never_hold_are_refused(rule: dict[str, object], problem: str) -> None:
    policy = {"scheme": "chain", "boot_rules": {"events": [rule]}}
    with pytest.raises(PolicyError, match=problem):
        load_policy(json.dumps(policy).encode())


def test_rules_travel_in_the_policy_and_are_part_of_its_digest(world: World) -> None:
    policy = world.policy(boot_rules=RULES)
    assert load_policy(encode_policy(policy)) == policy
    assert policy.digest != world.policy().digest


def test_t10_the_verifier_judges_by_event(world: World) -> None:
    kinds = sorted({(e.pcr, e.kind) for e in boot_event_log.parse(world.boot.log)[1:]})
    rules = BootRules(
        events=tuple(BootRule(pcr, boot_events.type_name(kind), any=True) for pcr, kind in kinds),
        secure_boot=False,
    )
    policy = world.policy(boot=None, boot_rules=rules)
    assert ids(judge(world, policy=policy)) == set()
    strict = msgspec.structs.replace(rules, secure_boot=True)
    assert ids(judge(world, policy=world.policy(boot_rules=strict))) == {OFF}
    fewer = msgspec.structs.replace(rules, events=rules.events[:-1])
    assert ids(judge(world, policy=world.policy(boot_rules=fewer))) == {UNKNOWN}


def test_t10_variable_changed_in_the_log_alone_is_caught(world: World) -> None:
    """Data are not extended: the replay matches, and only the digest gives it away."""
    log = world.boot.log
    at = log.index("SecureBoot".encode("utf-16-le")) + 20
    changed = log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]
    rules = BootRules(
        events=tuple(
            BootRule(pcr, boot_events.type_name(kind), any=True)
            for pcr, kind in sorted({(e.pcr, e.kind) for e in boot_event_log.parse(log)[1:]})
        ),
        secure_boot=False,
    )
    evidence = world.evidence(boot_log=changed)
    assert ids(judge(world, evidence)) == set()
    assert ids(judge(world, evidence, world.policy(boot_rules=rules))) == {DATA}


@pytest.mark.oracle
def test_event_types_have_the_names_that_tpm2_eventlog_prints(tmp_path: Path) -> None:
    kinds = list(boot_events.EVENT_TYPES.items())
    data = [variable("x", b"") if k in boot_events.VARIABLE_TYPES else bytes(200) for _, k in kinds]
    for (name, kind), value in zip(kinds, data, strict=True):
        (tmp_path / "log").write_bytes(header([0xB]) + event(0, kind, value))
        command = ["tpm2_eventlog", str(tmp_path / "log")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
        told = done.stdout.split("EventType: ")[2].splitlines()[0]
        # Version 5.4 doesn't know what the specification added later.
        assert told == name or (told == "Unknown event type" and name in NEWER_TYPES)


NEWER_TYPES = {
    "EV_POST_CODE2", "EV_EFI_GPT_EVENT2", "EV_EFI_HCRTM_EVENT", "EV_EFI_SPDM_FIRMWARE_BLOB",
    "EV_EFI_SPDM_FIRMWARE_CONFIG", "EV_EFI_SPDM_DEVICE_POLICY", "EV_EFI_SPDM_DEVICE_AUTHORITY",
}  # fmt: skip


def test_a_name_too_long_or_not_utf16_is_no_variable() -> None:
    guid = uuid.UUID(GLOBAL).bytes_le
    for data in (
        guid + struct.pack("<QQ", 2**63, 0),
        guid + struct.pack("<QQ", 1, 2**60) + b"a\0",
        guid + struct.pack("<QQ", 1, 0) + b"\0\xd8",
    ):
        with pytest.raises(Exception, match="UEFI_VARIABLE_DATA"):
            boot_events.parse_variable(data)
