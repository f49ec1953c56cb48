"""What a policy decides about SEV-SNP guests and their platforms, and where a report breaks it."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from harness.framework.tee import snp_format
from harness.framework.tee.report import check_bits
from harness.framework.tee.snp_format import Report

POLICY_ONE, POLICY_MIGRATE_MA, POLICY_DEBUG = 1 << 17, 1 << 18, 1 << 19

Line = Literal["Milan", "Genoa", "Turin"]


class MinimumTcb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest accepted security patch levels; only a Turin has an ``fmc``."""

    bootloader: int = 0
    tee: int = 0
    snp: int = 0
    microcode: int = 0
    fmc: int = 0


class SnpRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy decides about SEV-SNP guests and their platforms.

    ``required_bits`` and ``forbidden_bits`` are of the guest policy (default: no debugging, no
    migration agent), ``minimum_abi`` is the least (major, minor) that it must ask for.
    ``minimum_tcb`` holds for the reported, committed, current and launch TCB, by product line, and
    ``required_mitigations`` for the vectors of launch and now (report version 5).
    ``author_keys``, ``id_keys`` (SHA-384 digests) and ``host_data`` are the accepted values, None
    where any will do. A masked chip id makes chips with a VLEK indistinguishable. ``crls`` are DER;
    with ``require_crl`` that of the ARK, which alone may sign lists, must be there and in date.
    """

    required_bits: int = POLICY_ONE
    forbidden_bits: int = POLICY_DEBUG | POLICY_MIGRATE_MA
    minimum_abi: tuple[int, int] = (0, 0)
    vmpls: tuple[int, ...] = (0,)
    minimum_tcb: dict[Line, MinimumTcb] = {}
    minimum_guest_svn: int = 0
    required_platform_bits: int = 0
    forbidden_platform_bits: int = 0
    required_mitigations: int = 0
    signing_keys: tuple[Literal["vcek", "vlek"], ...] = ("vcek", "vlek")
    allow_masked_chip: bool = False
    author_keys: tuple[bytes, ...] | None = None
    id_keys: tuple[bytes, ...] | None = None
    host_data: tuple[bytes, ...] | None = None
    crls: tuple[bytes, ...] = ()
    require_crl: bool = False


def check(report: Report, line: str, rules: SnpRules) -> Iterator[tuple[str, str]]:
    """Failure id and detail of each rule that ``report`` of a product line breaks."""
    yield from _check_guest_policy(report, rules)
    yield from _check_platform(report, line, rules)
    yield from _check_identity(report, rules)


def _check_guest_policy(report: Report, rules: SnpRules) -> Iterator[tuple[str, str]]:
    policy, bits = report.policy, (rules.required_bits, rules.forbidden_bits)
    yield from check_bits("tee.policy", "guest policy", policy, *bits)
    abi = (policy >> 8 & 0xFF, policy & 0xFF)
    if abi < rules.minimum_abi:
        yield "tee.snp.abi", f"asks for ABI {abi}, at least {rules.minimum_abi}"
    if report.guest_svn < rules.minimum_guest_svn:
        yield "tee.snp.guest_svn", f"version {report.guest_svn}, at least {rules.minimum_guest_svn}"
    if report.vmpl not in rules.vmpls:
        yield "tee.snp.vmpl", f"VMPL {report.vmpl}, accepted {rules.vmpls}"


def _check_platform(report: Report, line: str, rules: SnpRules) -> Iterator[tuple[str, str]]:
    bits = rules.required_platform_bits, rules.forbidden_platform_bits
    yield from check_bits("tee.snp.platform", "platform", report.platform_info, *bits)
    needed = rules.required_mitigations
    if any(vector & needed != needed for vector in report.mitigations):
        yield "tee.snp.mitigations", f"vectors {report.mitigations}, required bits {needed:#x}"
    minimum = msgspec.structs.asdict(
        next((tcb for name, tcb in rules.minimum_tcb.items() if name == line), MinimumTcb())
    )
    tcbs = {
        "reported": report.reported_tcb,
        "committed": report.committed_tcb,
        "current": report.current_tcb,
        "launch": report.launch_tcb,
    }
    for name, tcb in tcbs.items():
        parts = snp_format.tcb_parts(tcb, line)
        if parts is None or any(value < minimum[part] for part, value in parts.items()):
            yield "tee.snp.tcb.minimum", f"{name} TCB {tcb.hex()} ({parts}), at least {minimum}"


def _check_identity(report: Report, rules: SnpRules) -> Iterator[tuple[str, str]]:
    kind = report.signing_key
    if kind not in rules.signing_keys:
        yield "tee.snp.signing_key", f"signed by a {kind}, accepted {rules.signing_keys}"
    if not any(report.chip_id) and not rules.allow_masked_chip:
        yield "tee.snp.chip.masked", "the chip id is zero and allow_masked_chip is off"
    author = report.author_key_digest if report.author_key_enabled else b""
    accepted = (
        ("tee.snp.author", author, rules.author_keys),
        ("tee.snp.id_key", report.id_key_digest, rules.id_keys),
        ("tee.snp.host_data", report.host_data, rules.host_data),
    )
    for failure, value, values in accepted:
        if values is not None and value not in values:
            yield failure, f"{value.hex() or 'none'} is not accepted"
