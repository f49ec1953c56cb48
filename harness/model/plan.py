"""What the pilot decided: how many blocks a workload runs, and why."""

import msgspec


class ClaimSize(msgspec.Struct, frozen=True):
    """Blocks that one claim needs.

    ``sd_log``: spread of the pilot's log ratios, None when the pilot gave no estimate and
    ``sd_upper`` is the scenario's assumption; ``sd_upper``: upper 80 % bound that n rests on;
    ``expected``: overhead assumed before the run, not the pilot's own mean.
    """

    claim_id: str
    sd_log: float | None
    sd_upper: float
    expected: float
    blocks: int


class PilotDecision(msgspec.Struct, frozen=True):
    """Final blocks of one workload; ``wanted`` > ``blocks`` where ``max_blocks`` cut it."""

    workload: str
    pilot: int
    wanted: int
    blocks: int
    claims: tuple[ClaimSize, ...]
