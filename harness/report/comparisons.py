"""Tables of candidates against the baseline: absolute time, time added, relative cost."""

from collections.abc import Iterable, Sequence

from harness.model.estimate import Estimate
from harness.report.counted import COUNTED, DOMAIN_MEMORY, ENTRIES, LOG_BYTES, WALL
from harness.report.data import (
    ATTESTATION,
    COMMANDS,
    LAUNCH,
    MEMORY,
    PHASE_NAMES,
    TOTAL,
    Dataset,
    factors_text,
    half_width,
    metric_words,
)
from harness.report.emulation import caption_note, label
from harness.report.frames import estimates_frame
from harness.report.numbers import (
    MOST_PLACES,
    NBSP,
    estimate_and_interval,
    percent,
    percent_places,
    unit_for,
)
from harness.report.table import Heading, Table
from harness.stats.reducers import counted
from harness.store import Emulated


def comparison(
    data: Dataset, name: str, caption: str, estimates: Sequence[Estimate], missing: str
) -> Table:
    """Baseline and candidate in absolute time, the time added and the relative cost."""
    values = [e.baseline_mean for e in estimates]
    scale, unit = unit_for(values, estimates[0].unit if estimates else "")
    baselines = {e.baseline for e in estimates}
    emulated = data.emulated({e.cell_id for e in estimates}) if estimates else ()
    front = _front(estimates, emulated)
    headings = [Heading(text, number=False) for text in front]
    headings += [
        Heading(baselines.pop() if len(baselines) == 1 else "baseline", unit),
        Heading(arms.pop() if len(arms := {e.candidate for e in estimates}) == 1 else "arm", unit),
        Heading("Added [95 % interval]", unit),
        Heading("Cost [95 % interval]", "%"),
        Heading("Noise floor ±", "%"),
        Heading("MDE", "%"),
        Heading("n", "pairs"),
    ]
    with_q = any(e.q_value is not None for e in estimates)
    headings += [Heading("q", "BH")] if with_q else []
    groups = tuple(f"{cell_name(e)} · {PHASE_NAMES.get(e.phase, e.phase)}" for e in estimates)
    if len(set(groups)) == len(groups):
        groups = ()
    else:
        headings = [heading for heading in headings if heading.text not in ("Cell", "Phase")]
        front = {text: column for text, column in front.items() if text not in ("Cell", "Phase")}
    cells = [
        (
            *(column[row] for column in front.values()),
            *numbers_of(data, e, scale),
            *([_q(e)] if with_q else []),
        )
        for row, e in enumerate(estimates)
    ]
    frame = estimates_frame(data, estimates)
    note = caption_note(emulated)
    return Table(name, caption, frame, tuple(headings), cells, note, missing, groups)


def _front(estimates: Sequence[Estimate], emulated: tuple[Emulated, ...]) -> dict[str, list[str]]:
    """Text columns; arm and part only where they differ from row to row."""
    columns = {
        "Cell": [cell_name(e) for e in estimates],
        "Phase": [PHASE_NAMES.get(e.phase, e.phase) for e in estimates],
    }
    if len({e.candidate for e in estimates}) > 1:
        columns["Arm"] = [e.candidate for e in estimates]
    if any(e.part != TOTAL for e in estimates):
        columns["Part"] = [label(e.part, emulated) for e in estimates]
    return columns


def cell_name(estimate: Estimate) -> str:
    """The cell's factors, or the workload that has none."""
    return factors_text(estimate.factors) if estimate.factors else estimate.workload


def numbers_of(data: Dataset, e: Estimate, scale: float) -> tuple[str, ...]:
    """Baseline, arm, added, cost, noise floor, MDE and n as the cells of a row."""
    most = 0 if counted(e.unit) else MOST_PLACES
    baseline, _ = estimate_and_interval(
        e.baseline_mean, e.baseline_low, e.baseline_high, scale, most=most
    )
    arm, _ = estimate_and_interval(
        e.candidate_mean, e.candidate_low, e.candidate_high, scale, most=most
    )
    added = estimate_and_interval(
        e.difference_mean, e.difference_low, e.difference_high, scale, signed=True, most=most
    )
    most = percent_places(e.unit)
    cost = estimate_and_interval(e.point, e.low, e.high, 0.01, signed=True, most=most)
    floor = percent(half_width(data.noise_floor(e)), most=most).removesuffix(f"{NBSP}%")
    mde = percent(e.mde, most=most).removesuffix(f"{NBSP}%")
    return baseline, arm, " ".join(added), " ".join(cost), floor, mde, str(e.n_pairs)


def _q(estimate: Estimate) -> str:
    return "" if estimate.q_value is None else f"{estimate.q_value:.2g}"


def in_order(data: Dataset, estimates: Iterable[Estimate]) -> list[Estimate]:
    """By phase, cell, arm, metric and part."""
    cells = {cell.id: position for position, cell in enumerate(data.cells)}
    arms = {arm: position for position, arm in enumerate((*data.candidates, *data.copies))}
    phases = list(PHASE_NAMES)
    return sorted(
        estimates,
        key=lambda e: (
            phases.index(e.phase) if e.phase in phases else len(phases),
            cells.get(e.cell_id, len(cells)),
            arms.get(e.candidate, len(arms)),
            e.metric,
            e.part,
        ),
    )


def comparison_tables(data: Dataset) -> list[Table]:
    """Attestation, ablations, commands, launch, and other metrics, as far as they are in scope."""
    of = [e for e in data.by_key.values() if e.candidate in data.candidates]
    return [
        comparison(data, name, caption, in_order(data, rows), missing)
        for _, name, caption, rows, missing in (*_main_choices(data, of), *_other_choices(of))
    ]


def noise_table(data: Dataset) -> Table:
    """The A/A copies against their baselines, by total time."""
    aa = [e for e in data.by_key.values() if e.candidate in data.copies]
    chosen = [e for e in aa if e.part == TOTAL and e.unit == "ns" and e.metric != WALL]
    caption = "Noise floor: the A/A copy against the baseline."
    return comparison(data, "aa", caption, in_order(data, chosen), "No A/A pair was measured.")


_OWN_TABLES = {ATTESTATION, COMMANDS, LAUNCH, MEMORY, *COUNTED, DOMAIN_MEMORY, ENTRIES, LOG_BYTES}

# Metric, name, caption, estimates, and the sentence in their place where there are none.
_Choice = tuple[str, str, str, list[Estimate], str]


def _main_choices(data: Dataset, of: list[Estimate]) -> list[_Choice]:
    base, lead = data.scenario.baseline, data.candidates[:1]
    attestation = [e for e in of if e.metric == ATTESTATION and e.part == TOTAL]
    choices: list[_Choice] = [
        (
            ATTESTATION,
            "attestation",
            f"Attestation, end to end, against {base}; every cell by itself.",
            [e for e in attestation if e.candidate in lead],
            "No attestation was measured in both arms.",
        ),
        (
            ATTESTATION,
            "ablations",
            f"Ablation arms: attestation, end to end, against {base}.",
            [e for e in attestation if e.candidate not in lead],
            "This campaign has no ablation arms for attestation.",
        ),
        (
            COMMANDS,
            "commands",
            f"TPM commands against {base}.",
            [e for e in of if e.metric == COMMANDS],
            "No TPM command was measured in both arms.",
        ),
        (
            LAUNCH,
            "launch_comparison",
            f"Launch of vTPMs, total, against {base}.",
            [e for e in of if (e.metric, e.part) == (LAUNCH, TOTAL)],
            "No launch was measured in both arms.",
        ),
    ]
    return [choice for choice in choices if choice[0] in data.shown]


def _other_choices(of: list[Estimate]) -> list[_Choice]:
    metrics = sorted({e.metric for e in of} - _OWN_TABLES)
    return [
        (
            metric,
            metric,
            f"{_words(metric)} against {_baselines(of, metric)}.",
            [e for e in of if e.metric == metric],
            "Not measured in both arms.",
        )
        for metric in metrics
    ]


def _words(metric: str) -> str:
    words = metric_words(metric).capitalize().replace(" tpm ", " TPM ")
    return f"{words} (secondary: most of it is emulation)" if metric == WALL else words


def _baselines(of: list[Estimate], metric: str) -> str:
    return " and ".join(dict.fromkeys(e.baseline for e in of if e.metric == metric))
