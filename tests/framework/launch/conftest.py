from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.framework.deployment import Deployment, FrameworkPod, HostPlatform


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostPlatform:
    return HostPlatform.provision(tmp_path_factory.mktemp("h") / "host")


@pytest.fixture(scope="package")
def deployment(
    host: HostPlatform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with Deployment(host, tmp_path_factory.mktemp("d")) as running:
        yield running


@pytest.fixture(scope="package")
def workdir(deployment: Deployment) -> Path:
    return deployment._workdir


@pytest.fixture(scope="package")
def pod(deployment: Deployment) -> Iterator[FrameworkPod]:
    with deployment.open("pod-fixture", "ecc256") as opened:
        yield opened
