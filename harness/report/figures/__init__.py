"""One module per figure; each takes the dataset and returns a ``Plot``."""

from harness.report.data import Dataset
from harness.report.figure import Plot
from harness.report.figures import claims, commands, cost, drift, launch, phases


def all_figures(data: Dataset) -> list[Plot]:
    """Every figure in the order of the page, also those that say why they are missing."""
    return [
        claims.plot(data),
        commands.plot(data),
        cost.plot(data),
        phases.plot(data),
        drift.plot(data),
        launch.plot(data),
    ]
