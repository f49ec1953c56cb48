"""The scenario of the synthetic guests: counted work, TPMs in guests, and the demonstration."""

from typing import Any

from harness.model.scenario import Arm, Cell, Claim, Scenario, Workload

STOCK, PATCHED, TCB, OFF = "ima-stock", "ima-namespaced", "ima-namespaced-tcb", "ima-off"
SOFTWARE, FRAMEWORK = "software-tpm", "framework"
SIZES = ("4KiB", "16KiB", "1MiB", "64MiB")
CONTAINERS = (1, 4, 16)
DOMAINS = (1, 4, 16, 64, 256, 1024)
LENGTHS = (100, 1000, 10_000)
_GUEST: dict[str, Any] = {"arms": (STOCK, PATCHED, TCB, OFF)}
_TPM: dict[str, Any] = {"arms": (SOFTWARE, FRAMEWORK), "baseline": SOFTWARE}


def _claim(name: str, workload: str, part: str, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": name,
        "title": f"{part}: the extension costs less than 1 % more instructions than stock IMA",
        "workload": workload,
        "metric": f"{workload}_instructions",
        "part": part,
        "candidate": PATCHED,
        "kind": "at_most",
        "at_most": 0.01,
        "reducer": "median",
        "paper": "< 1 %",
    }
    return Claim(**(fields | changes))


CLAIMS = (
    _claim("first-exec-in-container", "file_measurement", "container.exec.first.16KiB"),
    _claim("open-again-in-container", "file_measurement", "container.open.again.16KiB"),
    _claim("first-open-of-a-tiny-file", "file_measurement", "container.open.first.4KiB"),
    _claim("compile", "application", "compile"),
    _claim("boot", "guest_boot", "init", kind="estimate", at_most=None),
)


def workloads(blocks: int) -> tuple[Workload, ...]:
    """Every guest workload, as the quick scenario of the guests has them."""
    return (
        Workload("file_measurement", "file_measurement", 20, 2, blocks, **_GUEST),
        Workload("guest_boot", "guest_boot", 1, 0, blocks, **_GUEST),
        Workload(
            "container_start", "container_start", 4, 0, blocks,
            factors={"containers": CONTAINERS}, arms=(STOCK, PATCHED),
        ),
        Workload("namespace_scale", "namespace_scale", 4, 0, blocks, arms=(STOCK, PATCHED)),
        Workload("log_growth", "log_growth", 4, 0, blocks, arms=(STOCK, PATCHED)),
        Workload("application", "application", 3, 0, blocks, arms=(STOCK, PATCHED)),
        Workload("guest_tpm_commands", "guest_tpm_commands", 20, 2, blocks, **_TPM),
        Workload("guest_attestation", "guest_attestation", 8, 1, blocks, **_TPM),
        Workload(
            "containers", "guest_attestation", 1, 0, 1,
            arms=(STOCK, FRAMEWORK), baseline=STOCK,
        ),
    )  # fmt: skip


def cells() -> tuple[Cell, ...]:
    """One cell per workload; three for the starts of containers."""
    names = [one.name for one in workloads(6) if one.name != "container_start"]
    starts = (Cell(f"s{n}", "container_start", {"containers": n}) for n in CONTAINERS)
    return (*(Cell(name, name, {}) for name in names), *starts)


def scenario(blocks: int) -> Scenario:
    """Two baselines: stock IMA where instructions are counted, the software TPM where one is."""
    names = (STOCK, PATCHED, TCB, OFF, SOFTWARE, FRAMEWORK)
    return Scenario(
        name="synthetic-ima",
        title="The measurement extension against stock IMA",
        seed=20251102,
        backend="qemu",
        baseline=STOCK,
        arms=tuple(Arm(name, name) for name in names),
        workloads=workloads(blocks),
        claims=CLAIMS,
    )
