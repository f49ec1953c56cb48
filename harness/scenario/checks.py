"""Checks across the keys of a scenario: names, references, margins and sizes."""

import math
from collections.abc import Mapping

from harness.model.scenario import Arm, Scalar, Scenario, Workload
from harness.scenario.attacks import check_cases
from harness.scenario.cells import arms_of, cells_of
from harness.scenario.claims import check_claim
from harness.scenario.errors import problem, unknown_name, wrong_value
from harness.scenario.kinds import ARM_KINDS, WORKLOAD_KINDS, ValueRule, is_counted

ValueRules = Mapping[str, ValueRule]

MAX_CELLS = 2_000
MAX_TRIALS = 1_000_000


def check_scenario(file: str, scenario: Scenario) -> None:
    """Raise InputError for the first thing that does not fit together."""
    _check_not_empty(file, "arms", scenario.arms)
    _check_not_empty(file, "workloads", scenario.workloads)
    _check_unique(file, "arms", "name", [arm.name for arm in scenario.arms])
    _check_unique(file, "workloads", "name", [item.name for item in scenario.workloads])
    _check_unique(file, "claims", "id", [claim.id for claim in scenario.claims])
    names = [arm.name for arm in scenario.arms]
    if scenario.baseline not in names:
        raise unknown_name(file, "baseline", scenario.baseline, "the name of an arm", names)
    for index, arm in enumerate(scenario.arms):
        _check_arm(file, f"arms[{index}]", scenario, arm)
    claimed = {claim.workload for claim in scenario.claims}
    for index, workload in enumerate(scenario.workloads):
        _check_workload(file, f"workloads[{index}]", scenario, workload)
        if workload.pilot is not None and workload.name not in claimed:
            text = "a pilot sizes claims, but no claim is about this workload; use blocks = 12"
            raise problem(file, f"workloads[{index}].pilot", text)
    _check_size(file, scenario)
    for index, claim in enumerate(scenario.claims):
        check_claim(file, f"claims[{index}]", scenario, claim)


def _check_not_empty(file: str, key: str, items: tuple[Arm, ...] | tuple[Workload, ...]) -> None:
    if not items:
        raise problem(file, key, f"got an empty array, expected at least one [[{key}]]")


def _check_unique(file: str, key: str, field: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        first = names.index(name)
        if first < index:
            text = f'got "{name}" again, expected a {field} that {key}[{first}] does not have'
            raise problem(file, f"{key}[{index}].{field}", text)


def _check_arm(file: str, at: str, scenario: Scenario, arm: Arm) -> None:
    known = [name for name, kind in ARM_KINDS.items() if scenario.backend in kind.backends]
    if arm.kind not in known:
        what = f"a kind of arm of the {scenario.backend} backend"
        raise unknown_name(file, f"{at}.kind", arm.kind, what, known)
    _check_options(file, f"{at}.options", arm.options, ARM_KINDS[arm.kind].options)


def _check_workload(file: str, at: str, scenario: Scenario, workload: Workload) -> None:
    known = [name for name, kind in WORKLOAD_KINDS.items() if kind.backend == scenario.backend]
    if workload.kind not in known:
        what = f"a kind of workload of the {scenario.backend} backend"
        raise unknown_name(file, f"{at}.kind", workload.kind, what, known)
    kind = WORKLOAD_KINDS[workload.kind]
    _check_options(file, f"{at}.options", workload.options, kind.options)
    _check_factors(file, f"{at}.factors", workload, kind.factors)
    _check_blocks(file, at, workload)
    check_cases(file, f"{at}.cases", workload)
    if workload.layout == "interleaved" and not kind.interleaves:
        able = ", ".join(name for name in known if WORKLOAD_KINDS[name].interleaves)
        text = f'got "interleaved", expected "sequential" for {workload.kind}; only {able} can'
        raise problem(file, f"{at}.layout", text)
    names = [arm.name for arm in scenario.arms]
    if workload.baseline and workload.baseline not in names:
        what = "the name of an arm"
        raise unknown_name(file, f"{at}.baseline", workload.baseline, what, names)
    for index, name in enumerate(workload.arms):
        if name not in names:
            raise unknown_name(file, f"{at}.arms[{index}]", name, "the name of an arm", names)
        if name in workload.arms[:index]:
            raise problem(file, f"{at}.arms[{index}]", f'got "{name}" again, expected it once')
    if is_counted(workload):
        _check_counted(file, f"{at}.arms", scenario, workload)


def _check_counted(file: str, at: str, scenario: Scenario, workload: Workload) -> None:
    """Instructions can only be counted without a TPM, whose answers take the host's time."""
    for arm in arms_of(scenario, workload).values():
        if ARM_KINDS[arm.kind].needs_tpm:
            text = f'got "{arm.name}", whose TPM a guest that counts instructions cannot have'
            raise problem(file, at, f'{text}; name the arms, or set options.profile = "chain"')


def _check_factors(file: str, at: str, workload: Workload, rules: ValueRules | None) -> None:
    for name, values in workload.factors.items():
        if rules is not None and name not in rules:
            raise unknown_name(file, f"{at}.{name}", name, "a factor of this kind", rules)
        if not values:
            raise problem(file, f"{at}.{name}", "got an empty array, expected at least one value")
        if len({type(value) for value in values}) > 1:
            raise problem(file, f"{at}.{name}", "got values of several types, expected one type")
        for index, value in enumerate(values):
            where = f"{at}.{name}[{index}]"
            if value in values[:index]:
                raise problem(file, where, f"got {value!r} again, expected each value once")
            if rules is not None and not rules[name].accepts(value):
                raise wrong_value(file, where, value, str(rules[name]))


def _check_options(file: str, at: str, options: dict[str, Scalar], rules: ValueRules) -> None:
    for name, value in options.items():
        if name not in rules:
            raise unknown_name(file, f"{at}.{name}", name, "an option of this kind", rules)
        if not rules[name].accepts(value):
            raise wrong_value(file, f"{at}.{name}", value, str(rules[name]))


def _check_blocks(file: str, at: str, workload: Workload) -> None:
    if (workload.blocks is None) == (workload.pilot is None):
        found = "both blocks and pilot" if workload.pilot is not None else "neither of them"
        text = f"got {found}, expected exactly one: blocks = 12, or pilot = 8"
        raise problem(file, f"{at}.blocks", text)
    for name in ("blocks", "pilot", "max_blocks"):
        count = getattr(workload, name)
        single = name == "blocks" and count == 1
        # Orders come in reversed pairs; half a pair would favour an arm, unless order can't matter.
        halved = count is not None and count % 2 and not is_counted(workload)
        if count is not None and not single and (halved or count < 4):
            raise wrong_value(file, f"{at}.{name}", count, "an even number of blocks >= 4")
    if workload.pilot is not None and workload.max_blocks < workload.pilot:
        expected = f"at least the pilot's {workload.pilot} blocks"
        raise wrong_value(file, f"{at}.max_blocks", workload.max_blocks, expected)


def _check_size(file: str, scenario: Scenario) -> None:
    trials = 0
    cells = 0
    for index, workload in enumerate(scenario.workloads):
        count = math.prod(len(values) for values in workload.factors.values())
        if count > MAX_CELLS:
            text = f"got {count} combinations, expected at most {MAX_CELLS}"
            raise problem(file, f"workloads[{index}].factors", text)
        cells += count
        blocks = workload.blocks or workload.max_blocks
        trials += count * blocks * len(arms_of(scenario, workload))
    if trials > MAX_TRIALS:
        text = f"got {trials} trials in all, expected at most {MAX_TRIALS}; use fewer blocks"
        raise problem(file, "workloads", text)
    if len(cells_of(scenario)) != cells:
        raise problem(file, "workloads", "two cells have the same id; rename a workload")
