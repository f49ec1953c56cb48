"""What a policy decides about TDs and their platforms, and where a TD breaks it."""

from collections.abc import Iterator

import msgspec

from harness.framework.tee.report import check_bits
from harness.framework.tee.tdx_collateral import Status
from harness.framework.tee.tdx_format import TdReport
from harness.framework.tee.tdx_verdict import Collateral, Verdict

# Any of these eight bits lets the host look into the TD.
ATTRIBUTES_DEBUG = 0xFF
ATTRIBUTES_MIGRATABLE = 1 << 29
_NONE = bytes(48)


class TdxRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy decides about TDs and their platforms.

    ``required_attributes`` and ``forbidden_attributes`` are bits of the TD's attributes (default:
    no debugging, no migration). The other names are the accepted values of the TD's fields, None
    where any will do; ``rtmrs`` by register number, ``vms`` the TD itself (0) or virtual machines
    within it, of which the report says nothing else. ``collateral`` must be there unless
    ``require_collateral`` is off, and then a platform of any TCB is accepted.
    ``minimum_evaluation`` is the lowest accepted TCB evaluation data number.
    """

    required_attributes: int = 0
    forbidden_attributes: int = ATTRIBUTES_DEBUG | ATTRIBUTES_MIGRATABLE
    mr_seams: tuple[bytes, ...] | None = None
    mr_config_ids: tuple[bytes, ...] | None = None
    mr_owners: tuple[bytes, ...] | None = None
    mr_owner_configs: tuple[bytes, ...] | None = None
    service_tds: tuple[bytes, ...] | None = (_NONE,)
    devices: tuple[bytes, ...] | None = (_NONE,)
    vms: tuple[int, ...] = (0,)
    rtmrs: dict[int, tuple[bytes, ...]] = {}
    collateral: Collateral | None = None
    require_collateral: bool = True
    accepted_statuses: tuple[Status, ...] = ("UpToDate",)
    minimum_evaluation: int = 0


def check(td: TdReport, verdict: Verdict | None, rules: TdxRules) -> Iterator[tuple[str, str]]:
    """Failure id and detail of each rule that ``td``, or its platform's verdict, breaks."""
    yield from _check_verdict(verdict, rules)
    bits = rules.required_attributes, rules.forbidden_attributes
    yield from check_bits("tee.policy", "TD attributes", td.attributes, *bits)
    accepted = (
        ("tee.tdx.seam", td.mr_seam, rules.mr_seams),
        ("tee.tdx.config", td.mr_config_id, rules.mr_config_ids),
        ("tee.tdx.config", td.mr_owner, rules.mr_owners),
        ("tee.tdx.config", td.mr_owner_config, rules.mr_owner_configs),
        ("tee.tdx.config", td.devices, rules.devices),
        *(
            ("tee.tdx.service_td", value, rules.service_tds)
            for value in (td.service_td, *td.later_service_tds)
        ),
    )
    if td.vm not in rules.vms:
        yield "tee.tdx.config", f"virtual machine {td.vm} within the TD, accepted {rules.vms}"
    for failure, value, values in accepted:
        if values is not None and value not in values:
            yield failure, f"{value.hex()} is not accepted"
    for register, digests in rules.rtmrs.items():
        if not 0 <= register < len(td.rtmrs) or td.rtmrs[register] not in digests:
            yield "tee.tdx.rtmr", f"register {register} has a value that is not accepted"


def _check_verdict(verdict: Verdict | None, rules: TdxRules) -> Iterator[tuple[str, str]]:
    if verdict is None:
        if rules.require_collateral:
            yield "tee.tdx.collateral.missing", "the policy has no collateral of Intel"
        return
    yield from verdict.problems
    if verdict.status not in rules.accepted_statuses:
        yield "tee.tdx.tcb", f"{verdict.status or 'no status'}, accepted {rules.accepted_statuses}"
    if verdict.evaluation < rules.minimum_evaluation:
        yield (
            "tee.tdx.collateral.evaluation",
            f"evaluation {verdict.evaluation}, at least {rules.minimum_evaluation}",
        )
