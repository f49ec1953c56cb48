"""What the backends understand: kinds of workloads and arms, their factors, options and parts."""

from typing import NamedTuple

from harness.model.scenario import BackendName, Scalar


class ValueRule(NamedTuple):
    """Values a factor or option may take: one of ``choices``, or a number in [low, high]."""

    type: type[int] | type[float] | type[str]
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 1e15

    def accepts(self, value: Scalar) -> bool:
        """Whether ``value`` has the right type and lies in the range."""
        allowed = (int, float) if self.type is float else (self.type,)
        if type(value) not in allowed:
            return False
        if self.choices:
            return value in self.choices
        return isinstance(value, str) or self.low <= value <= self.high

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.type is str:
            return "a string"
        noun = "an integer" if self.type is int else "a number"
        return f"{noun} from {self.low:g} to {self.high:g}"


class WorkloadKind(NamedTuple):
    """One kind of workload.

    ``produces``: metric -> its parts, or None where the workload itself names them;
    ``factors``/``options``: None allows any; ``startup_s`` and ``iteration_s``: typical cost of a
    trial, used for a first guess of wall time only; ``interleaves``: its trials can take turns.
    """

    backend: BackendName
    produces: dict[str, tuple[str, ...] | None]
    factors: dict[str, ValueRule] | None
    options: dict[str, ValueRule]
    startup_s: float
    iteration_s: float
    interleaves: bool = False


class ArmKind(NamedTuple):
    """One kind of arm, with the options it takes."""

    backend: BackendName
    options: dict[str, ValueRule]


_PROBABILITY = ValueRule(float, low=0.0, high=1.0)
_AK = ValueRule(str, choices=("rsa2048", "ecc256"))

WORKLOAD_KINDS: dict[str, WorkloadKind] = {
    "attestation": WorkloadKind(
        "process",
        {
            "attestation_latency_ns": (
                "total",
                "challenge",
                "report",
                "quote",
                "logs",
                "serialise",
                "transport",
                "chain",
                "quote_check",
                "replay",
                "policy",
            ),
            "evidence_size_bytes": ("total",),
        },
        {"ak": _AK, "ima_entries": ValueRule(int, low=1, high=1_000_000)},
        {},
        0.8,
        0.012,
        interleaves=True,
    ),
    "tpm_commands": WorkloadKind("process", {"tpm_command_latency_ns": None}, {}, {}, 5.0, 0.1),
    "vtpm_launch": WorkloadKind(
        "process",
        {
            "vtpm_launch_latency_ns": (
                "total",
                "channel",
                "manufacture",
                "endorsement",
                "ak",
                "residency",
                "report",
                "issue",
                "certificate",
            ),
            "vtpm_memory_bytes": ("pss", "rss"),
        },
        {"instances": ValueRule(int, low=1, high=256), "ak": _AK},
        {},
        0.4,
        0.2,
    ),
    "fake": WorkloadKind(
        "fake",
        {"fake_latency_ns": ("total",)},
        None,
        {
            "latency_ns": ValueRule(float, low=1.0),
            "drift_sd": ValueRule(float, high=10.0),
            "trial_sd": ValueRule(float, high=10.0),
            "noise_sd": ValueRule(float, high=10.0),
            "position_effect": ValueRule(float, low=-0.5, high=10.0),
            "sleep_ms": ValueRule(float, high=60_000.0),
        },
        0.001,
        0.0,
        interleaves=True,
    ),
}

ARM_KINDS: dict[str, ArmKind] = {
    "software-tpm": ArmKind("process", {}),
    "framework": ArmKind("process", {}),
    "issuing-key": ArmKind("process", {}),
    "no-channel": ArmKind("process", {}),
    "deep-quote": ArmKind("process", {}),
    "report-per-attestation": ArmKind("process", {}),
    "fake": ArmKind(
        "fake",
        {
            "latency_ns": ValueRule(float, low=1.0),
            "slowdown": ValueRule(float, low=-0.9, high=100.0),
            "fail": _PROBABILITY,
            "reject": _PROBABILITY,
            "timeout": _PROBABILITY,
        },
    ),
}
