"""The scenario of the synthetic campaign: the quick one's shape, claims of all three kinds."""

from typing import Any

from harness.model.scenario import AA_SUFFIX, Arm, Claim, Scenario, Workload

BASELINE = "software-tpm"
AA = BASELINE + AA_SUFFIX
CELL = {"ak": "rsa2048", "ima_entries": 2000}
SHARED: dict[str, Any] = {
    "workload": "attestation",
    "metric": "attestation_latency_ns",
    "part": "total",
    "candidate": "framework",
    "factors": CELL,
}
CLAIMS = (
    Claim(
        id="framework-over-software-tpm",
        title="The framework costs about 10 % over a software TPM",
        kind="equivalent",
        low=0.08,
        high=0.12,
        paper="≈ +10 %",
        **SHARED,
    ),
    Claim(
        id="framework-goal",
        title="The framework costs at most 10 %",
        kind="at_most",
        at_most=0.10,
        paper="≈ +10 %",
        **SHARED,
    ),
    Claim(
        id="first-attestation",
        title="Cost of the first attestation",
        kind="estimate",
        phase="first",
        **SHARED,
    ),
)


def workloads(blocks: int, iterations: int) -> tuple[Workload, ...]:
    """Attestation in two cells, commands in one, launches in five."""
    return (
        Workload(
            "attestation",
            "attestation",
            iterations,
            5,
            blocks,
            factors={"ak": ("rsa2048",), "ima_entries": (500, 2000)},
        ),
        Workload(
            "tpm_commands",
            "tpm_commands",
            iterations,
            5,
            blocks,
            arms=(BASELINE, "framework"),
        ),
        Workload(
            "vtpm_launch",
            "vtpm_launch",
            1,
            0,
            blocks,
            arms=(BASELINE, "framework"),
            factors={"instances": (1, 2, 4, 8, 16)},
        ),
    )


def scenario(blocks: int, iterations: int) -> Scenario:
    """The quick scenario's shape, with claims of all three kinds."""
    arms = tuple(Arm(name, name) for name in (BASELINE, "framework", "deep-quote"))
    return Scenario(
        name="synthetic",
        title="Unified attestation against a software TPM",
        seed=20251101,
        backend="process",
        baseline=BASELINE,
        arms=arms,
        workloads=workloads(blocks, iterations),
        claims=CLAIMS,
    )
