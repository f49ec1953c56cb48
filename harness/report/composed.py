"""Time with a TPM, composed of what was measured apart: extends added and an extend's latency.

Instructions can't be counted with a TPM attached, whose answers take time that is not the guest's.
"""

import pandas as pd

from harness.model.estimate import Estimate
from harness.report.comparisons import numbers_of
from harness.report.counted import (
    ENTRIES,
    FILES,
    GUEST_COMMANDS,
    STARTS,
    estimate_name,
    file_part,
    leading,
    new_work,
    workloads_of,
)
from harness.report.data import Dataset, Mean
from harness.report.numbers import NBSP, NO_DATA, TIMES, estimate_and_interval
from harness.report.table import Heading, Table

EXTEND = "pcr_extend"


def number_text(value: float | None) -> str:
    """A mean of counts: whole where it is, else two places; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def composed_table(data: Dataset) -> Table:
    """Extends added per operation times the extend latency that was measured by itself."""
    latencies = extend_latencies(data)
    operations = _composed_operations(data)
    names = workloads_of(operations)
    arms = " and ".join(dict.fromkeys(e.candidate for e in operations))
    rows: list[dict[str, object]] = []
    cells: list[tuple[str, ...]] = []
    for e in operations:
        extends = extends_added(data, e)
        if not extends:
            continue
        _, _, added, *_ = numbers_of(data, e, 1.0)
        row: dict[str, object] = {"cell_id": e.cell_id, "operation": e.part, "arm": e.candidate}
        row |= {"instructions_added": e.difference_mean, "extends_added": extends}
        texts = []
        for arm, one in latencies.items():
            mean, low, high = (extends * value for value in one[:3])
            texts.append(_with_interval(mean, low, high))
            row |= {f"{arm}_ns": mean, f"{arm}_low": low, f"{arm}_high": high, f"{arm}_n": one.n}
        rows.append(row)
        name = estimate_name(e)
        factors = f" ({e.workload})" if len(names[e.metric]) > 1 else ""
        factors += "".join(f", {key} = {value}" for key, value in e.factors.items())
        cells.append((name + factors, added, number_text(extends), *texts))
    headings = (
        Heading("Operation", number=False),
        Heading("Counted: added [95 % interval]", "instructions"),
        Heading("Counted: extends added"),
        *(Heading(f"Composed: extends, TPM of {arm}", "µs") for arm in latencies),
    )
    return Table(
        "composed",
        f"Composed, not measured: extends added by {arms} per operation {TIMES} latency of one.",
        pd.DataFrame(rows),
        headings,
        cells,
        _latency_note(latencies),
        "Nothing to compose: no operation with entries of its own was counted in both arms.",
    )


def _latency_note(latencies: dict[str, Mean]) -> str:
    equal = "Equal work makes equal entries in both arms, so a TPM adds no extend to it."
    if not latencies:
        missing = "The latency of an extend was not measured in this campaign, so no time is given."
        return f"{missing} {equal}"
    parts = []
    for arm, (mean, low, high, n) in latencies.items():
        trials = "1 trial, no interval" if n == 1 else f"{n} trials"
        parts.append(f"{arm} {_with_interval(mean, low, high)}{NBSP}µs (n{NBSP}={NBSP}{trials})")
    return (
        f"One extend as the guest's driver sees it: {', '.join(parts)}. The instructions beside it "
        f"are no time and not part of it. {equal}"
    )


def _with_interval(mean: float, low: float, high: float) -> str:
    """In µs; one trial has no interval."""
    text, interval = estimate_and_interval(mean, low, high, 1e3)
    return text if interval == NO_DATA else f"{text} {interval}"


def extend_latencies(data: Dataset) -> dict[str, Mean]:
    """Latency in ns of one extend in a guest, by TPM arm."""
    found: dict[str, Mean] = {}
    for cell in data.cells:
        # By the scenario: a single block has arms, but no comparison that would name them.
        order = (data.baseline_of(cell), *(arm.name for arm in data.scenario.arms))
        for arm in dict.fromkeys(order):
            mean = data.means.get((cell.id, arm, GUEST_COMMANDS, EXTEND, "measured"))
            if mean is not None:
                found.setdefault(arm, mean)
    return found


def _composed_operations(data: Dataset) -> list[Estimate]:
    """Starts of containers, and per file operation the first touch of the smallest file.

    Of the leading arm, whose containers make entries of their own.
    """
    chosen: dict[tuple[str, str], Estimate] = {}
    for e in leading(data, new_work(data)):
        parsed = file_part(e.part) if e.metric == FILES else None
        if e.metric == STARTS:
            chosen[e.cell_id, e.part] = e
        elif parsed is not None:
            chosen.setdefault((e.cell_id, parsed.operation), e)
    return list(chosen.values())


def extends_added(data: Dataset, e: Estimate) -> float | None:
    """Entries of the arm beyond its baseline's, per operation that makes entries of its own.

    Over complete blocks only: a salt may add entries of its own, the same to every arm of a block.
    """
    rows = data.trial_means
    rows = rows[(rows["cell_id"] == e.cell_id) & (rows["metric"] == ENTRIES)]
    rows = rows[rows["part"].isin(["pcr10", "pcr11"])]
    totals = rows.groupby(["block", "arm"])["value"].sum().unstack()
    if not {e.baseline, e.candidate} <= set(totals.columns):
        return None
    added = (totals[e.candidate] - totals[e.baseline]).dropna()
    operations = _operations(data, e)
    return float(added.mean()) / operations if operations and len(added) else None


def _operations(data: Dataset, e: Estimate) -> float:
    """New-work operations per ok trial of the arm, warm-up included: it writes entries as well."""
    trials = data.trials.query("cell_id == @e.cell_id and arm == @e.candidate and status == 'ok'")
    samples = data.campaign.samples
    rows = samples[samples["trial_id"].isin(trials["trial_id"]) & (samples["metric"] == e.metric)]
    if e.metric == FILES:
        parts = rows["part"].astype(str)
        rows = rows[parts.str.startswith("second.") & parts.str.contains(".first.", regex=False)]
    return len(rows) / len(trials) if len(trials) else 0.0
