"""One module per figure; each takes the dataset and returns a ``Plot``."""

from collections.abc import Callable

from harness.report.counted import (
    APPLICATION,
    BOOT,
    BOOT_TIME,
    DOMAIN_MEMORY,
    FILES,
    GROWTH,
    GUEST_ATTESTATION,
    GUEST_COMMANDS,
    SCALE,
    STARTS,
)
from harness.report.data import ATTESTATION, COMMANDS, LAUNCH, Dataset
from harness.report.figure import Plot
from harness.report.figures import (
    boot,
    claims,
    commands,
    cost,
    demonstration,
    drift,
    launch,
    new_work,
    overhead,
    phases,
    scale,
    sizes,
)

# Each with the metrics of which one must be in the scenario's scope; none: always.
_FIGURES: tuple[tuple[Callable[[Dataset], Plot | None], tuple[str, ...]], ...] = (
    (claims.plot, ()),
    (overhead.files_plot, (FILES,)),
    (overhead.work_plot, (BOOT, APPLICATION, GROWTH)),
    (sizes.plot, (FILES,)),
    (new_work.plot, (FILES, STARTS, SCALE)),
    (scale.domains_plot, (SCALE, DOMAIN_MEMORY)),
    (scale.growth_plot, (GROWTH,)),
    (demonstration.plot, ()),
    (boot.plot, (BOOT, BOOT_TIME)),
    (commands.plot, (COMMANDS,)),
    (cost.plot, (COMMANDS,)),
    (phases.plot, (ATTESTATION,)),
    (commands.guest_plot, (GUEST_COMMANDS,)),
    (phases.guest_plot, (GUEST_ATTESTATION,)),
    (drift.plot, ()),
    (launch.plot, (LAUNCH,)),
)


def all_figures(data: Dataset) -> list[Plot]:
    """Every figure in the order of the page, also those that say why they are missing."""
    if data.estimates.attacks and not data.scenario.claims:
        return []  # there is nothing to compare
    wanted = [plot for plot, of in _FIGURES if not of or not data.shown.isdisjoint(of)]
    return [found for plot in wanted if (found := plot(data)) is not None]
