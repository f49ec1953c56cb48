"""Renders a synthetic campaign into a folder; a process of its own, with its own hash seed.

The folder alone: the framework's; with names of workloads: that of the guests, with only these.
"""

import sys
from pathlib import Path

from harness.report import render

from . import synthetic, synthetic_estimates
from .conftest import rendered_guests

if __name__ == "__main__":
    folder, workloads = Path(sys.argv[1]), tuple(sys.argv[2:])
    if workloads:
        rendered_guests(folder, workloads)
    else:
        campaign = synthetic.campaign(Path("results/synthetic"))
        render(campaign, synthetic_estimates.estimates(campaign), folder)
