"""Checks of the attacks that a workload lists."""

from harness.model.scenario import AttackCase, Mounting, Workload
from harness.scenario.errors import problem, wrong_value
from harness.scenario.kinds import WORKLOAD_KINDS


def check_cases(file: str, at: str, workload: Workload) -> None:
    """Raise InputError for the first attack that doesn't say what must come of it."""
    run_on = WORKLOAD_KINDS[workload.kind].attacks_on
    takes = bool(run_on)
    if takes != bool(workload.cases):
        expected = f"at least one [[{at}]]" if takes else f"none: {workload.kind} runs no attacks"
        raise wrong_value(file, at, list(workload.cases), expected)
    names = [case.case for case in workload.cases]
    for index, case in enumerate(workload.cases):
        where = f"{at}[{index}]"
        if case.case in names[:index]:
            raise problem(file, f"{where}.case", f'got "{case.case}" again, expected it once')
        _check_case(file, where, case, run_on)


def _check_case(file: str, at: str, case: AttackCase, run_on: tuple[Mounting, ...]) -> None:
    if bool(case.stage) != bool(case.failures):
        text = "expected both stage and failures, or neither where it must be accepted"
        raise problem(file, f"{at}.stage", text)
    if len(set(case.failures)) < len(case.failures):
        raise problem(file, f"{at}.failures", "got a failure twice, expected each once")
    run = case.mounted in run_on
    if run == bool(case.why_not):
        text = (
            f'got none for mounted = "{case.mounted}", expected why this scenario doesn\'t run it'
            if not run
            else f'got a reason, but mounted = "{case.mounted}" is run; remove one of them'
        )
        raise problem(file, f"{at}.why_not", text)
