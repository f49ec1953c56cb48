"""Shared fixtures of the verifier tests."""

import pytest

from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor

from .world import World


@pytest.fixture(scope="session")
def processor(tmp_path_factory: pytest.TempPathFactory) -> SoftwareProcessor:
    return SoftwareVendor().provision(tmp_path_factory.mktemp("processor"))


@pytest.fixture(scope="session")
def world(processor: SoftwareProcessor) -> World:
    return World(processor)
