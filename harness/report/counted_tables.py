"""Tables of counted work: overhead of equal work, new work apart, entries, and layout noise."""

from collections.abc import Sequence

from harness.model.estimate import Estimate
from harness.report.comparisons import noise_table, numbers_of
from harness.report.composed import composed_table, number_text
from harness.report.counted import (
    COUNTED,
    ENTRIES,
    LOG_BYTES,
    equal_estimates,
    estimate_name,
    leading,
    new_work,
)
from harness.report.data import Dataset, cell_text, half_width
from harness.report.emulation import caption_note
from harness.report.frames import estimates_frame
from harness.report.numbers import NBSP, percent
from harness.report.table import Heading, Table


def counted_tables(data: Dataset) -> list[Table]:
    """Overhead, new work, entries and composed time; none where nothing was counted."""
    if data.shown.isdisjoint(COUNTED):
        return []
    return [overhead_table(data), new_work_table(data), entries_table(data), composed_table(data)]


def noise_tables(data: Dataset) -> list[Table]:
    """What two copies of a baseline differ by, in time and in counted instructions."""
    timed, layout = noise_table(data), layout_table(data)
    if layout.empty:
        return [timed]
    return [layout] if timed.empty else [timed, layout]


def overhead_table(data: Dataset) -> Table:
    """Equal work in instructions; people read the leading arm, the CSV file has every arm."""
    estimates = equal_estimates(data)
    shown = leading(data, estimates)
    baseline, lead = (shown[0].baseline, shown[0].candidate) if shown else ("baseline", "arm")
    headings = (
        Heading("Operation", number=False),
        Heading(baseline),
        Heading(lead),
        Heading("Added [95 % interval]"),
        Heading("Overhead [95 % interval]", "%"),
        Heading("Layout noise ±", "%"),
        Heading("MDE", "%"),
        Heading("n", "pairs"),
    )
    cells = [(estimate_name(e), *numbers_of(data, e, 1.0)) for e in shown]
    emulated = caption_note(data.emulated({e.cell_id for e in estimates}) if estimates else ())
    note = f"{_elsewhere('overhead', estimates, shown)} {emulated}"
    return Table(
        "overhead",
        f"Equal work: instructions per operation, {lead} against {baseline}.",
        estimates_frame(data, estimates),
        headings,
        cells,
        note.strip(),
        "No equal work was counted in both arms.",
        tuple(_group(data, e) for e in shown),
    )


def _elsewhere(table: str, estimates: Sequence[Estimate], shown: Sequence[Estimate]) -> str:
    others = sorted({e.candidate for e in estimates} - {e.candidate for e in shown})
    return f"{', '.join(others)}: in {table}.csv." if others else ""


def _group(data: Dataset, e: Estimate) -> str:
    cell = data.campaign.cells[e.cell_id]
    return " · ".join(dict.fromkeys((cell.workload, cell_text(cell))))


def new_work_table(data: Dataset) -> Table:
    """What stock IMA does not do at all: instructions added per operation, never a percentage."""
    estimates = new_work(data)
    shown = leading(data, estimates)
    headings = (
        Heading("Operation", number=False),
        Heading(shown[0].baseline if shown else "baseline"),
        Heading(shown[0].candidate if shown else "arm"),
        Heading("Added [95 % interval]"),
        Heading("n", "pairs"),
    )
    cells: list[tuple[str, ...]] = []
    for e in shown:
        without, with_it, added, *_ = numbers_of(data, e, 1.0)
        cells.append((estimate_name(e), without, with_it, added, str(e.n_pairs)))
    return Table(
        "new_work",
        "New work: what stock IMA leaves out, in instructions per operation.",
        estimates_frame(data, estimates),
        headings,
        cells,
        _elsewhere("new_work", estimates, shown),
        "No new work was counted in both arms.",
        tuple(_group(data, e) for e in shown),
    )


def entries_table(data: Dataset) -> Table:
    """Entries of the measurement list at the end of a guest; each is one extend of the TPM."""
    means = data.arm_means
    frame = means[means["metric"].isin([ENTRIES, LOG_BYTES])].reset_index(drop=True)
    headings = (
        Heading("Workload", number=False),
        Heading("Arm", number=False),
        Heading("PCR 10", "entries"),
        Heading("PCR 11", "entries"),
        Heading("Violations"),
        Heading("List", "bytes"),
    )
    columns = [(ENTRIES, part) for part in ("pcr10", "pcr11", "violations")]
    columns.append((LOG_BYTES, "total"))
    cells: list[tuple[str, ...]] = []
    for cell in data.cells:
        for arm in (data.baseline_of(cell), *data.candidates):
            found = [data.means.get((cell.id, arm, *column, "measured")) for column in columns]
            if any(found):
                name = " · ".join(dict.fromkeys((cell.workload, cell_text(cell))))
                texts = (number_text(value.mean if value else None) for value in found)
                cells.append((name, arm, *texts))
    return Table(
        "entries",
        "Measurement list at the end of a guest, mean over trials; every entry is one extend.",
        frame,
        headings,
        cells,
        missing="The entries of the measurement lists were not counted.",
    )


def layout_table(data: Dataset) -> Table:
    """How far two copies of a baseline with different salts lie apart, by workload."""
    copies = [e for e in data.by_key.values() if e.candidate in data.copies and e.metric in COUNTED]
    headings = (
        Heading("Workload", number=False),
        Heading("Operations"),
        Heading("Median half-width", "%"),
        Heading("Widest half-width", "%"),
        Heading("Largest difference", "%"),
        Heading("Intervals without 0"),
    )
    cells: list[tuple[str, ...]] = []
    for metric in COUNTED:
        of = [e for e in copies if e.metric == metric]
        if of:
            cells.append((metric.removesuffix("_instructions").replace("_", " "), *_spread(of)))
    frame = estimates_frame(data, copies)
    caption = "Noise floor of the counts: the baseline against its copy with other salts."
    return Table("layout", caption, frame, headings, cells, missing="Nothing was counted.")


def _spread(of: Sequence[Estimate]) -> tuple[str, ...]:
    widths = sorted(half_width(e) for e in of)
    values = (widths[len(widths) // 2], widths[-1], max(abs(e.point) for e in of))
    without = sum(e.low > 0 or e.high < 0 for e in of)
    texts = (percent(value, most=3).removesuffix(f"{NBSP}%") for value in values)
    return (str(len(of)), *texts, f"{without} of {len(of)}")
