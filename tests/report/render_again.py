"""Renders the synthetic campaign into a folder; a process of its own, with its own hash seed."""

import sys
from pathlib import Path

from harness.report import render

from . import synthetic, synthetic_estimates

if __name__ == "__main__":
    campaign = synthetic.campaign(Path("results/synthetic"))
    render(campaign, synthetic_estimates.estimates(campaign), Path(sys.argv[1]))
