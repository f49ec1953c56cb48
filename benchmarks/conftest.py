"""Arms for the benchmarks: ``pytest benchmarks/ --benchmark-only --arm software-tpm``."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.workloads.arms import ARM_KINDS, BASELINE_KIND, Pod, start_arm
from harness.workloads.tpm_operations import Operation, Workbench


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arm", choices=ARM_KINDS, default=BASELINE_KIND, help="what is measured")
    parser.addoption("--host", type=Path, help="provisioned host platform (default: a new one)")
    parser.addoption("--arm-workdir", type=Path, help="where TPM state goes (default: temporary)")


@pytest.fixture(scope="session")
def pod(request: pytest.FixtureRequest) -> Iterator[Pod]:
    kind, host = request.config.getoption("--arm"), request.config.getoption("--host")
    # A short path: sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="ab-") as temporary:
        if kind != BASELINE_KIND and host is None:
            from harness.framework.host.platform import HostPlatform

            host = Path(temporary) / "host"
            HostPlatform.provision(host)
        workdir = request.config.getoption("--arm-workdir") or Path(temporary)
        with start_arm(kind, host, workdir) as arm:
            yield arm.open("pod-0", "ecc256")


@pytest.fixture(scope="session")
def operations(pod: Pod) -> dict[str, Operation]:
    return {operation.name: operation for operation in Workbench(pod.ectx).operations()}
