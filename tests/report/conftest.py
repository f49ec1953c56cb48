from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.model.estimate import CampaignEstimates
from harness.report import render
from harness.stats import estimate_campaign
from harness.store import Campaign

from . import synthetic, synthetic_estimates, synthetic_ima

STALE, FOREIGN = "figures/commands.pdf", "figures/mine.txt"


@dataclass(frozen=True)
class Rendered:
    """A campaign, what was estimated from it, and the folder of its report."""

    campaign: Campaign
    estimates: CampaignEstimates
    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def rendered(campaign: Campaign, folder: Path) -> Rendered:
    estimates = synthetic_estimates.estimates(campaign)
    render(campaign, estimates, folder)
    return Rendered(campaign, estimates, folder)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Everything the quick scenario has, with emulated parts."""
    return rendered(synthetic.campaign(Path("results/synthetic")), tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Counted work of guests, TPMs in guests and the demonstration of two containers."""
    return rendered_guests(tmp_path_factory.mktemp("guests"))


def rendered_guests(folder: Path, workloads: tuple[str, ...] = ()) -> Rendered:
    campaign = synthetic_ima.campaign(Path("results/synthetic-ima"), workloads=workloads)
    estimates = estimate_campaign(campaign)
    render(campaign, estimates, folder)
    return Rendered(campaign, estimates, folder)


@pytest.fixture(scope="session")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Only the vTPM launches were run, on real hardware: no claim has data.

    Old files lie in its folder.
    """
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "figures").mkdir()
    for name in (STALE, FOREIGN):
        (folder / name).write_bytes(b"old")
    campaign = synthetic.campaign(
        Path("results/sparse"), blocks=5, emulated=(), workloads=("vtpm_launch",)
    )
    return rendered(campaign, folder)
