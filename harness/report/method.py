"""How it was measured, on what, and how to do it again: sentences and definition lists."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from harness.model.plan import PilotDecision
from harness.model.scenario import NoiseGate, Workload
from harness.report.data import Dataset
from harness.report.numbers import quantity

_NOT_HOST = ("emulated",)


def measured(data: Dataset) -> list[str]:
    """Design, workloads, statistics and gate of the campaign, a sentence or two each."""
    scenario = data.scenario
    first, last = _period(data)
    when = f" between {first} and {last} (UTC)" if first else ""
    return [
        f"Backend {scenario.backend}; seed {scenario.seed}; {len(data.trials)} of "
        f"{data.estimates.trials_planned} planned trials recorded{when}. A trial is a fresh start "
        "of everything its arm needs, and the unit of replication; iterations inside it are not.",
        f"Every block runs each arm of a cell once, the baseline {scenario.baseline} twice (A/A), "
        "in a seeded order in which each position is used equally often.",
        *(workload_sentence(workload) for workload in scenario.workloads),
        *(pilot_sentence(decision) for decision in data.campaign.header.pilot),
        "Cost is the position-adjusted paired log ratio over blocks with its 95 % t-interval; a "
        "claim with a margin is decided by the 90 % interval, and p-values over the registered "
        "claims are Holm-adjusted. Everything else is exploratory; q is the Benjamini-Hochberg "
        "value. MDE is the smallest cost this campaign would have told from zero with 80 % power. "
        "Cells are never pooled.",
        gate_sentence(scenario.noise),
    ]


def workload_sentence(workload: Workload) -> str:
    """What a trial of this workload repeats, and over what."""
    blocks = (
        f"{workload.blocks} blocks" if workload.blocks else f"a pilot of {workload.pilot} blocks"
    )
    if workload.blocks is None and workload.pilot is None:
        blocks = "as many blocks as planned"
    text = (
        f"{workload.name}: {workload.warmup} warm-up and {workload.iterations} measured iterations "
        f"per trial, {blocks} per cell"
    )
    if workload.layout == "interleaved":
        text += ", the trials of a block taking turns every few iterations in random order"
    levels = "; ".join(
        f"{name} = {', '.join(str(value) for value in values)}"
        for name, values in workload.factors.items()
    )
    return f"{text}; {levels}." if levels else f"{text}."


def pilot_sentence(decision: PilotDecision) -> str:
    """What the pilot decided, once, before the rest was run."""
    cut = f", cut from {decision.wanted}" if decision.wanted > decision.blocks else ""
    return (
        f"{decision.workload}: a pilot of {decision.pilot} blocks fixed the number at "
        f"{decision.blocks}{cut}; its data are part of the result, which is analysed once."
    )


def gate_sentence(gate: NoiseGate) -> str:
    """The limits beyond which a trial is flagged."""
    return (
        f"The noise gate flags a trial that starts with load above {gate.max_load:g}, steal above "
        f"{gate.max_steal_percent:g} % or more than {gate.max_swap_in_pages} pages swapped in. "
        "Flagged trials are used and counted, never hidden."
    )


def interruptions(data: Dataset) -> str:
    """How many blocks were interrupted and resumed."""
    count = data.estimates.interrupted_blocks
    if count == 0:
        return "No block was interrupted."
    blocks = "1 block was" if count == 1 else f"{count} blocks were"
    return (
        f"{blocks} interrupted and completed later: trials that are compared stand further apart "
        "in time there than elsewhere. They are used."
    )


def missing_trials(data: Dataset) -> str:
    """How many planned trials were recorded, and with which status."""
    by_status = data.estimates.trials_by_status
    parts = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
    planned, recorded = data.estimates.trials_planned, sum(by_status.values())
    text = f"{planned} trials planned, {recorded} recorded" + (f": {parts}." if parts else ".")
    if recorded < planned:
        text += f" {planned - recorded} have not run: this report is of an unfinished campaign."
    return text


def _period(data: Dataset) -> tuple[str, str]:
    stamps = sorted(record.started_utc for record in data.campaign.records)
    if not stamps:
        return "", ""
    first, last = (stamp[:16].replace("T", " ") for stamp in (stamps[0], stamps[-1]))
    return first, last


def provenance_lists(data: Dataset) -> list[tuple[str, list[tuple[str, str]]]]:
    """(name of the set, [(key, value)]) for every provenance that trials refer to."""
    used = dict.fromkeys(data.trials["provenance"])
    found = []
    for digest in used:
        content = data.campaign.provenance.get(digest)
        if content is not None:
            shown = {key: value for key, value in content.items() if key not in _NOT_HOST}
            found.append((digest[:12], list(_flatten(shown))))
    return found


def _flatten(content: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        else:
            yield name, _value_text(str(key), value)


def _value_text(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and key.endswith("bytes"):
        return quantity(float(value), "bytes")
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "not known" if value is None else str(value)


def commit(data: Dataset) -> str:
    """Commit under which the trials ran, "" where it was not recorded."""
    for content in data.campaign.provenance.values():
        git = content.get("git")
        if isinstance(git, Mapping) and git.get("commit"):
            return str(git["commit"])
    return ""


def reproduce(data: Dataset) -> list[str]:
    """Commands that run the campaign again and render this page again."""
    file = PurePath(data.campaign.header.scenario_file)
    name = file.name if file.is_absolute() else file.as_posix()
    lines = [f"git checkout {commit(data)}"] if commit(data) else []
    return [
        *lines,
        f"attestbench run {name}",
        f"attestbench report results/{data.campaign.directory.name}",
    ]
