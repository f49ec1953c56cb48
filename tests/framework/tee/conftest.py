"""Real and emulated CSV evidence."""

from pathlib import Path

import pytest

from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor

DATA = Path(__file__).parents[2] / "data" / "csv"


@pytest.fixture(scope="session")
def real_root() -> bytes:
    return (DATA / "hrk.cert").read_bytes()


@pytest.fixture(scope="session")
def real_evidence() -> TeeEvidence:
    page = (DATA / "csvrs-report.cert").read_bytes().ljust(4096, b"\0")
    return TeeEvidence("csv", page, (DATA / "csvrs-hsk_cek.cert").read_bytes())


@pytest.fixture(scope="session")
def vendor() -> SoftwareVendor:
    return SoftwareVendor()


@pytest.fixture(scope="session")
def processor(
    vendor: SoftwareVendor, tmp_path_factory: pytest.TempPathFactory
) -> SoftwareProcessor:
    return vendor.provision(tmp_path_factory.mktemp("processor"))
