"""How it was measured, on what, and how to do it again: sentences and definition lists."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from harness.model.plan import PilotDecision
from harness.model.scenario import NoiseGate, Workload
from harness.report.counted import COUNTED, MARGIN
from harness.report.data import Dataset
from harness.report.numbers import margin_percent, quantity
from harness.scenario import comes_with_project
from harness.scenario.kinds import WORKLOAD_KINDS, is_counted

# The scenario as it was run, beside the page.
SCENARIO = "scenario.toml"
_NOT_HOST = ("emulated",)
_COST = (
    "Cost is the position-adjusted paired log ratio over blocks with its 95 % t-interval; a claim "
    "with a margin is decided by the 90 % interval, and p-values over the registered claims are "
    "Holm-adjusted. Everything else is exploratory; q is the Benjamini-Hochberg value. MDE is the "
    "smallest cost this campaign would have told from zero with 80 % power. Cells are never pooled."
)
_NO_GATE = "Where instructions are counted the gate has nothing to say and is not applied."


def measured(data: Dataset) -> list[str]:
    """Design, workloads, statistics and gate of the campaign, a sentence or two each."""
    scenario = data.scenario
    first, last = _period(data)
    compared = any(workload.blocks != 1 for workload in scenario.workloads)
    when = f" between {first} and {last} (UTC)" if first else ""
    return [
        f"Backend {scenario.backend}; seed {scenario.seed}; {len(data.trials)} of "
        f"{data.estimates.trials_planned} planned trials recorded{when}. A trial is a fresh start "
        "of everything its arm needs, and the unit of replication; iterations inside it are not.",
        *([_blocks(data)] if compared else []),
        *(workload_sentence(workload) for workload in scenario.workloads),
        *(pilot_sentence(decision) for decision in data.campaign.header.pilot),
        *([_COST] if compared else []),
        *counting(data),
        gate_sentence(scenario.noise),
        *([_NO_GATE] if any(map(_counted, scenario.workloads)) else []),
    ]


def _blocks(data: Dataset) -> str:
    return (
        f"Every block runs each arm of a cell once, the baseline {_baselines(data)} twice (A/A), "
        "in a seeded order in which each position is used equally often."
    )


def _counted(workload: Workload) -> bool:
    return workload.kind in WORKLOAD_KINDS and is_counted(workload)


def _baselines(data: Dataset) -> str:
    """The scenario's baseline, and whose baseline is another one."""
    scenario = data.scenario
    others = [w for w in scenario.workloads if scenario.baseline_of(w.name) != scenario.baseline]
    named = ", ".join(f"in {w.name} {scenario.baseline_of(w.name)}" for w in others)
    return f"{scenario.baseline} ({named})" if named else scenario.baseline


def counting(data: Dataset) -> list[str]:
    """How instructions were counted, what that can't see, and which work is compared."""
    if data.shown.isdisjoint(COUNTED):
        return []
    salts = {record.notes["salt"] for record in data.campaign.records if "salt" in record.notes}
    number = f" ({len(salts)} in this campaign)" if salts else ""
    return [
        "Where the unit is instructions, the emulator counted them: it executes one instruction "
        "per nanosecond of the guest's clock, on one processor and without a TPM, whose answers "
        "would take time that is not the guest's. The same boot gives the same count, whatever "
        "else the machine does; so the arms of a block may run side by side, the order in a block "
        "is not adjusted for, and repeating a boot would add nothing.",
        f"What varies is the layout: each block boots with a salt of its own{number}, which moves "
        "what the kernel and its memory look like. The A/A copy of the baseline boots with another "
        "salt, so the noise floor of a count is layout noise. A trial enters by the median over "
        "its operations; intervals are over salts.",
        "Equal work is what every kernel does: there the ratio is an overhead and is held against "
        f"{margin_percent(MARGIN)}. New work is what only the extension does (a second container's "
        "own entries, records of new domains, seals): it is given in entries, extends and "
        "instructions and never as a percentage of an operation that leaves it out.",
        "An instruction count is no time. It can't see caches, translation buffers, branch "
        "prediction or memory bandwidth; it counts a hash in generic code without the processor's "
        "SHA instructions, so hashing weighs more and the rest less than on a real host; and it "
        "holds no wait for a TPM. Time with a TPM is composed, and labelled so, of the extends "
        "counted and of the latency of an extend measured by itself.",
    ]


def workload_sentence(workload: Workload) -> str:
    """What a trial of this workload repeats, and over what."""
    blocks = (
        f"{workload.blocks} blocks" if workload.blocks else f"a pilot of {workload.pilot} blocks"
    )
    if workload.blocks is None and workload.pilot is None:
        blocks = "as many blocks as planned"
    if workload.kind == "guest_attacks":
        return (
            f"{workload.name}: a booted guest for each attack, and one without any, which is the "
            "twin of all; the verifier judges each attestation once, with its cache empty."
        )
    if workload.cases:
        return (
            f"{workload.name}: one deployment, on which each attack is mounted once, after its "
            f"twin; the verifier judges what it presents {workload.iterations} times, without "
            "anything remembered in between."
        )
    if workload.blocks == 1:
        return f"{workload.name}: a demonstration, one trial per arm; nothing is concluded from it."
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
    """Commands that run the campaign again and render this page again, in a checkout.

    A scenario that the project doesn't have as it was run is named where `report` keeps it.
    """
    header, name = data.campaign.header, data.campaign.directory.name
    own = PurePath(header.scenario_file)
    ours = comes_with_project(own.name, header.scenario_text)
    lines = [f"git checkout {commit(data)}"] if commit(data) else []
    return [
        *lines,
        f"attestbench run {own.stem if ours else f'reports/{name}/{SCENARIO}'}",
        f"attestbench report results/{name}",
    ]
