"""Checks of one claim: what it refers to exists, and its margins fit its kind."""

from harness.model.scenario import Claim, Scenario, Workload
from harness.scenario.cells import arms_of
from harness.scenario.errors import problem, unknown_name, wrong_value
from harness.scenario.kinds import WORKLOAD_KINDS

# Smallest iterations per trial for which a tail quantile means anything
# (at most one sample beyond it with probability <= 1 %).
QUANTILE_FLOORS = {"p10": 64, "p95": 130, "p99": 662}


def check_claim(file: str, at: str, scenario: Scenario, claim: Claim) -> None:
    """Raise InputError for the first thing wrong with ``claim``."""
    workloads = {workload.name: workload for workload in scenario.workloads}
    if claim.workload not in workloads:
        what = "the name of a workload"
        raise unknown_name(file, f"{at}.workload", claim.workload, what, workloads)
    workload = workloads[claim.workload]
    _check_target(file, at, claim, workload)
    if workload.blocks == 1:
        text = f'workload "{workload.name}" has one block, expected at least 4 for a claim'
        raise problem(file, f"{at}.workload", text)
    baseline = scenario.baseline_of(workload.name)
    arms = [name for name in arms_of(scenario, workload) if name != baseline]
    if claim.candidate not in arms:
        what = f'an arm of workload "{workload.name}" other than the baseline'
        raise unknown_name(file, f"{at}.candidate", claim.candidate, what, arms)
    _check_cell(file, f"{at}.factors", claim, workload)
    _check_reducer(file, at, claim, workload)
    _check_margins(file, at, claim)


def _check_target(file: str, at: str, claim: Claim, workload: Workload) -> None:
    produces = WORKLOAD_KINDS[workload.kind].produces
    if claim.metric not in produces:
        what = f'a metric of workload "{workload.name}"'
        raise unknown_name(file, f"{at}.metric", claim.metric, what, produces)
    parts = produces[claim.metric]
    if parts is not None and claim.part not in parts:
        raise unknown_name(file, f"{at}.part", claim.part, f"a part of {claim.metric}", parts)


def _check_cell(file: str, at: str, claim: Claim, workload: Workload) -> None:
    for name, value in claim.factors.items():
        if name not in workload.factors:
            what = f'a factor of workload "{workload.name}"'
            raise unknown_name(file, f"{at}.{name}", name, what, workload.factors)
        # 1, 1.0 and true are equal in Python but not the same factor value.
        if (type(value), value) not in [(type(known), known) for known in workload.factors[name]]:
            shown = ", ".join(str(known) for known in workload.factors[name])
            raise wrong_value(file, f"{at}.{name}", value, f"one of {shown}")
    for name, values in workload.factors.items():
        if name not in claim.factors:
            shown = ", ".join(str(value) for value in values)
            text = f"missing, expected one of {shown}: a claim is about exactly one cell"
            raise problem(file, f"{at}.{name}", text)


def _check_reducer(file: str, at: str, claim: Claim, workload: Workload) -> None:
    if claim.phase == "warmup":
        raise problem(file, f"{at}.phase", 'got "warmup", expected "first" or "measured"')
    floor = QUANTILE_FLOORS.get(claim.reducer, 1)
    samples = workload.iterations if claim.phase == "measured" else 1
    if samples < floor:
        text = (
            f'got "{claim.reducer}" over {samples} samples per trial, expected at least {floor}; '
            f'raise iterations of workload "{workload.name}" or use the mean'
        )
        raise problem(file, f"{at}.reducer", text)


def _check_margins(file: str, at: str, claim: Claim) -> None:
    needs = {"estimate": (), "at_most": ("at_most",), "equivalent": ("low", "high")}[claim.kind]
    for name in ("at_most", "low", "high"):
        present = getattr(claim, name) is not None
        if present and name not in needs:
            text = f'a claim of kind "{claim.kind}" has no such margin; remove it'
            raise problem(file, f"{at}.{name}", text)
        if not present and name in needs:
            text = f'missing, expected a fraction such as 0.10: kind "{claim.kind}" needs it'
            raise problem(file, f"{at}.{name}", text)
    if claim.low is not None and claim.high is not None and claim.low >= claim.high:
        raise wrong_value(file, f"{at}.low", claim.low, f"less than high = {claim.high}")
    _check_expected(file, f"{at}.expected", claim)


def _check_expected(file: str, at: str, claim: Claim) -> None:
    """What is expected must satisfy the claim, or no number of blocks could show it."""
    if claim.expected is None:
        return
    if claim.at_most is not None and claim.expected >= claim.at_most:
        raise wrong_value(file, at, claim.expected, f"less than at_most = {claim.at_most}")
    low, high = claim.low, claim.high
    if low is not None and high is not None and not low < claim.expected < high:
        raise wrong_value(file, at, claim.expected, f"between low = {low} and high = {high}")
