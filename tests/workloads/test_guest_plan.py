"""From trials to guests and back: kernels, salts, jobs, policies and samples."""

import pytest

from harness.guest.image import CONTAINER_UUIDS
from harness.guest.machine.results import GuestResults
from harness.model.errors import InputError
from harness.model.record import TrialRequest
from harness.model.scenario import Arm, Cell, Scalar, Workload
from harness.workloads.guest_plan import plan_guest
from harness.workloads.guest_samples import samples_of


def request(
    kind: str,
    arm: str = "ima-stock",
    seed: int = 1,
    iterations: int = 8,
    factors: dict[str, Scalar] | None = None,
    **options: Scalar,
) -> TrialRequest:
    workload = Workload("w", kind, iterations=iterations, warmup=1, options=options)
    cell = Cell("c", "w", factors or {})
    return TrialRequest("t", cell, workload, Arm(arm, arm.removesuffix("+aa")), seed, "unused")


@pytest.mark.parametrize(
    ("arm", "kernel", "policy"),
    [
        ("ima-off", "stock", ""),
        ("ima-stock", "stock", "ima_policy=tcb"),
        ("ima-namespaced", "namespaced", "ima_policy=container"),
        ("ima-namespaced-tcb", "namespaced", "ima_policy=tcb"),
        ("policy-only", "stock", "ima_policy=tcb"),
    ],
)
def test_arms(arm: str, kernel: str, policy: str) -> None:
    plan = plan_guest(request("guest_boot", arm))
    assert plan.kernel == kernel
    assert [word for word in plan.command_line.split() if word.startswith("ima_")] == [
        *([policy] if policy else [])
    ]
    assert plan.tpm == "none"


def test_all_arms_of_a_block_draw_the_same_layout_but_for_the_copy() -> None:
    salts = {
        arm: plan_guest(request("guest_boot", arm)).salt
        for arm in ("ima-stock", "ima-namespaced", "ima-stock+aa")
    }
    assert salts["ima-stock"] == salts["ima-namespaced"] != salts["ima-stock+aa"]
    assert plan_guest(request("guest_boot", seed=2)).salt not in salts.values()
    assert (
        f"attestbench.salt={salts['ima-stock']}" in plan_guest(request("guest_boot")).command_line
    )


def test_time_flows_and_a_tpm_is_there_unless_instructions_are_counted() -> None:
    plan = plan_guest(request("file_measurement", profile="chain"))
    assert plan.salt is None
    assert plan.tpm == "software-tpm"
    assert "nokaslr" not in plan.command_line


def test_tpm_commands_are_not_disturbed_by_measuring() -> None:
    plan = plan_guest(request("guest_tpm_commands", "framework"))
    assert (plan.tpm, plan.uefi) == ("framework", False)
    assert "ima_policy" not in plan.command_line


def test_only_the_frameworks_guest_asks_for_reports() -> None:
    jobs = {
        arm: plan_guest(request("guest_attestation", arm)).job
        for arm in ("framework", "software-tpm")
    }
    assert "attest count=8 warm=1 seal=1 report=1" in jobs["framework"]
    assert "report=0" in jobs["software-tpm"]


def test_large_files_are_few_and_fit() -> None:
    plan = plan_guest(request("file_measurement", sizes="4KiB,1MiB,64MiB"))
    assert "sizes=4096:8,1048576:2,67108864:2 " in plan.job
    assert plan.memory_mib == 384 + 3 * 64 * 4 // 3


@pytest.mark.parametrize("size", ["4", "4kib", "0KiB", "2000MiB", "", "4KiB 8KiB"])
def test_wrong_sizes(size: str) -> None:
    with pytest.raises(InputError):
        plan_guest(request("file_measurement", sizes=size))


def test_an_option_cannot_smuggle_a_directive() -> None:
    with pytest.raises(InputError, match="words with commas"):
        plan_guest(request("application", names="compile\nattest"))


def test_one_pcr_per_image_without_a_patch() -> None:
    policy = plan_guest(request("container_start", "policy-only")).policy.decode()
    for pcr, uuid in ((11, CONTAINER_UUIDS["a"]), (12, CONTAINER_UUIDS["b"])):
        assert f"measure func=BPRM_CHECK mask=MAY_EXEC fsuuid={uuid} pcr={pcr}\n" in policy
    assert plan_guest(request("container_start")).policy == b""


OUTPUT = b"""sample create.4 measured 0 700000
sample memory.4.bytes measured 0 102400
count ima.entries.pcr10 51
count ima.entries.pcr11 9
count ima.bytes 5032
DONE
"""


def results() -> GuestResults:
    found = GuestResults()
    found.take_all(OUTPUT)
    return found


def test_values_go_under_the_metric_they_belong_to() -> None:
    samples = samples_of(request("namespace_scale"), results(), 2.5)
    assert [(one.metric, one.part, one.value, one.unit, one.clock) for one in samples] == [
        ("namespace_scale_instructions", "create.4", 7e5, "instructions", "guest-instructions"),
        ("namespace_memory_bytes", "memory.4", 102400.0, "B", ""),
        ("ima_entries", "pcr10", 51.0, "entries", ""),
        ("ima_entries", "pcr11", 9.0, "entries", ""),
        ("ima_log_bytes", "total", 5032.0, "B", ""),
        ("guest_wall_time_ns", "total", 2.5e9, "ns", "monotonic"),
    ]


def test_the_same_values_are_time_where_time_flows() -> None:
    first = samples_of(request("namespace_scale", profile="chain"), results(), 2.5)[0]
    assert (first.metric, first.unit, first.clock) == (
        "namespace_scale_guest_time_ns",
        "ns",
        "guest-monotonic",
    )
