"""What the backends understand: kinds of workloads and arms, their factors, options and parts."""

from typing import NamedTuple

from harness.model.scenario import BackendName, Mounting, Scalar, Workload


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
    trial, used for a first guess of wall time only; ``interleaves``: its trials can take turns;
    ``counts``: the profile "cost" counts instructions, whatever else the machine does meanwhile;
    ``attacks_on``: what the attacks that it lists are mounted on; empty where it runs none.
    """

    backend: BackendName
    produces: dict[str, tuple[str, ...] | None]
    factors: dict[str, ValueRule] | None
    options: dict[str, ValueRule]
    startup_s: float
    iteration_s: float
    interleaves: bool = False
    counts: bool = False
    attacks_on: tuple[Mounting, ...] = ()


class ArmKind(NamedTuple):
    """One kind of arm, with the options it takes. ``needs_tpm``: it is nothing without a TPM."""

    backends: tuple[BackendName, ...]
    options: dict[str, ValueRule]
    needs_tpm: bool = False


def is_counted(workload: Workload) -> bool:
    """Whether the workload's values are counts, which other load on the machine can't change."""
    kind = WORKLOAD_KINDS[workload.kind]
    return kind.counts and workload.options.get("profile", "cost") == "cost"


def runs_at_once(workload: Workload) -> bool:
    """Whether all trials of a block may run at the same time, as far as processors allow.

    Counts don't suffer from it; and the guests of a single block are not compared.
    """
    guests = WORKLOAD_KINDS[workload.kind].backend == "qemu"
    return is_counted(workload) or (guests and workload.blocks == 1)


_PROBABILITY = ValueRule(float, low=0.0, high=1.0)
_AK = ValueRule(str, choices=("rsa2048", "ecc256"))
_PROFILE = {"profile": ValueRule(str, choices=("cost", "chain"))}
_ATTACK_METRICS: dict[str, tuple[str, ...] | None] = {
    "attack_detection_ns": None,
    "attack_evidence_bytes": None,
}
_TPM_DEVICE = {"tpm": ValueRule(str, choices=("crb", "tis"))}


def _guest_kind(
    name: str,
    parts: tuple[str, ...] | None,
    factors: dict[str, ValueRule],
    options: dict[str, ValueRule],
    startup_s: float,
    more: dict[str, tuple[str, ...] | None] | None = None,
) -> WorkloadKind:
    """A kind whose guest counts instructions (profile cost) or tells its own time (chain)."""
    produces = {
        f"{name}_instructions": parts,
        f"{name}_guest_time_ns": parts,
        **(more or {}),
        "ima_entries": ("pcr10", "pcr11", "violations"),
        "ima_log_bytes": ("total",),
        "guest_wall_time_ns": ("total",),
    }
    return WorkloadKind("qemu", produces, factors, _PROFILE | options, startup_s, 0.05, counts=True)


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
    "attack_matrix": WorkloadKind(
        "process",
        _ATTACK_METRICS,
        {},
        {"flip_every": ValueRule(int, low=0, high=1_000_000)},
        15.0,
        0.5,
        attacks_on=("deployment", "evidence"),
    ),
    "guest_boot": _guest_kind("guest_boot", ("init", "system", "container"), {}, {}, 1.5),
    "file_measurement": _guest_kind(
        "file_measurement",
        None,
        {},
        {
            "sizes": ValueRule(str),
            "ops": ValueRule(str),
            "scopes": ValueRule(str),
        },
        2.5,
    ),
    "container_start": _guest_kind(
        "container_start",
        ("start.first", "start.again"),
        {"containers": ValueRule(int, low=1, high=1024)},
        {"runtime": ValueRule(str, choices=("agent", "crun"))},
        1.5,
    ),
    "namespace_scale": _guest_kind(
        "namespace_scale",
        None,
        {},
        {"domains": ValueRule(str)},
        4.0,
        {"namespace_memory_bytes": None},
    ),
    "log_growth": _guest_kind(
        "log_growth",
        None,
        {},
        {
            "entries": ValueRule(int, low=1, high=200_000),
            "step": ValueRule(int, low=1, high=200_000),
        },
        8.0,
    ),
    "application": _guest_kind("application", None, {}, {"names": ValueRule(str)}, 7.0),
    "guest_tpm_commands": WorkloadKind(
        "qemu",
        {
            "guest_tpm_command_latency_ns": (
                "pcr_read",
                "pcr_extend",
                "get_random",
                "quote",
                "read_public",
            ),
            "guest_wall_time_ns": ("total",),
        },
        {"ak": _AK},
        _TPM_DEVICE,
        4.0,
        0.02,
    ),
    "guest_attestation": WorkloadKind(
        "qemu",
        {
            "guest_attestation_latency_ns": (
                "seal",
                "quote",
                "pcr_read",
                "report",
                "logs",
                "total",
            ),
            "guest_wall_time_ns": ("total",),
            "ima_entries": ("pcr10", "pcr11", "violations"),
            "ima_log_bytes": ("total",),
            "evidence_size_bytes": ("total",),
        },
        {"ak": _AK},
        _TPM_DEVICE | {"hide": ValueRule(str, choices=("nested", "measured", "setns", "manager"))},
        18.0,
        0.1,
    ),
    "guest_attacks": WorkloadKind(
        "qemu", _ATTACK_METRICS, {}, {}, 60.0, 30.0, attacks_on=("guest",)
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
    "software-tpm": ArmKind(("process", "qemu"), {}, needs_tpm=True),
    "framework": ArmKind(("process", "qemu"), {}, needs_tpm=True),
    "issuing-key": ArmKind(("process",), {}),
    "no-channel": ArmKind(("process",), {}),
    "deep-quote": ArmKind(("process",), {}),
    "report-per-attestation": ArmKind(("process",), {}),
    "ima-off": ArmKind(("qemu",), {}),
    "ima-stock": ArmKind(("qemu",), {}),
    "ima-namespaced": ArmKind(("qemu",), {}),
    "ima-namespaced-tcb": ArmKind(("qemu",), {}),
    "policy-only": ArmKind(("qemu",), {}),
    "fake": ArmKind(
        ("fake",),
        {
            "latency_ns": ValueRule(float, low=1.0),
            "slowdown": ValueRule(float, low=-0.9, high=100.0),
            "fail": _PROBABILITY,
            "reject": _PROBABILITY,
            "timeout": _PROBABILITY,
        },
    ),
}
