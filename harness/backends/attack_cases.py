"""Whether a scenario's attacks exist, asked before anything starts: a typo must not cost the rest.

A scenario that is well formed may still name what only the workloads know, so this is not part of
loading it: an old campaign can be loaded after an attack was renamed.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from harness.model.errors import EnvironmentError_, InputError
from harness.model.scenario import AttackCase, Scenario
from harness.scenario import arms_of
from harness.scenario.errors import describe, nearest, problem

_ARM = "framework"


class _Known(NamedTuple):
    """``cases``: row and mounting of each case."""

    cases: Mapping[str, tuple[str, str]]
    stages: Collection[str]
    failures: Collection[str]


def check_attacks(file: str, scenario: Scenario) -> None:
    """Raise InputError, naming the key of ``file``, for the first attack that can't be run so."""
    for index, workload in enumerate(scenario.workloads):
        if not workload.cases:
            continue
        names = [arm.name for arm in arms_of(scenario, workload).values()]
        for number, arm in enumerate(scenario.arms):
            if arm.name in names and arm.kind != _ARM:
                text = f'got {describe(arm.kind)}, expected "{_ARM}": {workload.kind} attacks it'
                raise problem(file, f"arms[{number}].kind", f"{text} alone; remove this arm")
        known = _of_guests() if workload.kind == "guest_attacks" else _of_deployments()
        for number, case in enumerate(workload.cases):
            _check_case(file, f"workloads[{index}].cases[{number}]", case, known)


def _check_case(file: str, at: str, case: AttackCase, known: _Known) -> None:
    if not case.why_not:  # what is only listed need not exist
        _check_name(file, at, case, known.cases)
    if case.stage and case.stage not in known.stages:
        raise _unknown(file, f"{at}.stage", case.stage, "a stage", known.stages)
    for index, failure in enumerate(case.failures):
        if failure not in known.failures:
            where = f"{at}.failures[{index}]"
            raise _unknown(file, where, failure, "the id of a failure", known.failures)


def _check_name(file: str, at: str, case: AttackCase, known: Mapping[str, tuple[str, str]]) -> None:
    if case.case not in known:
        raise _unknown(file, f"{at}.case", case.case, "the name of an attack", known)
    row, mounted = known[case.case]
    for key, found, right in (("row", case.row, row), ("mounted", case.mounted, mounted)):
        if found != right:
            text = f'got {describe(found)}, expected "{right}", the {key} of attack "{case.case}"'
            raise problem(file, f"{at}.{key}", text)


def _unknown(file: str, key: str, found: str, what: str, known: Collection[str]) -> InputError:
    """Names the nearest; all of them where none is near, since there may be hundreds."""
    hint = nearest(found, known) or f"; known: {', '.join(sorted(known))}"
    return problem(file, key, f"got {describe(found)}, expected {what}{hint}")


def _of_deployments() -> _Known:
    try:  # only now: scenarios without attacks need no TSS libraries to be checked
        from harness.framework.verify import FAILURES, STAGES
        from harness.workloads.security import registry

        registry.load_attacks()
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EnvironmentError_(
            f"the attacks cannot be looked up: {reason}; `attestbench doctor` shows what is missing"
        ) from error
    cases = {name: (known.row, known.mounted) for name, known in registry.ATTACKS.items()}
    stages = (*STAGES, *registry.OTHER_STAGES)
    return _Known(cases, stages, {*FAILURES, *registry.REFUSALS})


def _of_guests() -> _Known:
    from harness.backends.guest_attacks import HIDING
    from harness.framework.verify import FAILURES, STAGES

    return _Known({case: (row, "guest") for row, case in HIDING}, STAGES, FAILURES)
