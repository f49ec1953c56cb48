"""Attacks: what came of each, held against what the scenario says must come of it."""

from collections.abc import Iterator

import msgspec
import pandas as pd

from harness.model.errors import InputError
from harness.model.estimate import AttackResult, AttackVerdict
from harness.model.record import (
    ATTACKS_NOTE,
    DETECTION,
    EVIDENCE_SIZE,
    FLIPS_NOTE,
    AttackOutcome,
    FlipOutcome,
    TrialRecord,
)
from harness.model.scenario import AttackCase
from harness.stats.series import CampaignData


def judge_attacks(campaign: CampaignData) -> tuple[AttackResult, ...]:
    """Every attack of the scenario, in its order; one that a trial ran amiss counts as amiss."""
    results = []
    for workload in campaign.scenario.workloads:
        if not workload.cases:
            continue
        trials = [record for record in campaign.records if record.workload == workload.name]
        found = [_outcomes(record) for record in trials]
        samples = campaign.samples[
            campaign.samples["trial_id"].isin([record.trial_id for record in trials])
        ]
        for case in workload.cases:
            judged = [_judge(case, outcomes) for outcomes in found]
            amiss = (one for one in judged if one.verdict != "as expected")
            worst = next(amiss, judged[0] if judged else _judge(case, {}))
            results.append(_measured(worst, samples))
    return tuple(results)


def flips_of(campaign: CampaignData) -> FlipOutcome | None:
    """What became of changed bytes in the first trial that changed any. Raises InputError."""
    for record in campaign.records:
        if text := record.notes.get(FLIPS_NOTE):
            try:
                return msgspec.json.decode(text, type=FlipOutcome)
            except msgspec.MsgspecError as error:
                raise InputError(
                    f"trial {record.trial_id}: its note {FLIPS_NOTE!r} can't be read: {error}"
                ) from None
    return None


def went_amiss(results: tuple[AttackResult, ...]) -> tuple[AttackResult, ...]:
    """Those that didn't end as they must; what wasn't run at all is not among them."""
    return tuple(one for one in results if one.verdict not in ("as expected", "not run"))


def summary(results: tuple[AttackResult, ...]) -> str:
    """How many of those that ran ended as they must: attacks, and cases that are none.

    A case without failures must be accepted; counting it as an attack would claim a detection.
    """
    ran = [one for one in results if one.verdict != "not run"]
    attacks = [one for one in ran if one.attack.failures]
    harmless = [one for one in ran if not one.attack.failures]
    rows = len({one.attack.row for one in attacks})
    in_rows = f"in {rows} row" + "s" * (rows != 1)
    text = f"{_share(attacks)} attacks {in_rows} ended as expected"
    return f"{text}, {_share(harmless)} harmless cases were accepted" if harmless else text


def attacks_frame(results: tuple[AttackResult, ...]) -> pd.DataFrame:
    """One row per attack, in the order of the scenario, for other programs."""
    return pd.DataFrame([_row(one) for one in results])


def _row(result: AttackResult) -> dict[str, object]:
    attack = result.attack
    return {
        "row": attack.row,
        "case": attack.case,
        "title": attack.title,
        "mounted": attack.mounted,
        "verdict": result.verdict,
        "stage": result.stage,
        "failures": " ".join(result.failures),
        "expected_stage": attack.stage,
        "expected_failures": " ".join(attack.failures),
        "detection_ns": result.detection_ns,
        "n": result.n,
        "evidence_bytes": result.evidence_bytes,
        "why": result.why,
    }


def _share(results: list[AttackResult]) -> str:
    return f"{len(results) - len(went_amiss(tuple(results)))} of {len(results)}"


def _outcomes(record: TrialRecord) -> dict[str, AttackOutcome]:
    """By case; a trial that broke down has none, and says why as the outcome of every case."""
    try:
        found = msgspec.json.decode(
            record.notes.get(ATTACKS_NOTE, "[]"), type=tuple[AttackOutcome, ...]
        )
    except msgspec.MsgspecError as error:
        return {"": AttackOutcome("", error=f"the trial's note can't be read: {error}")}
    if not found:
        return {"": AttackOutcome("", error=record.reason or f"the trial was {record.status}")}
    return {outcome.case: outcome for outcome in found}


def _judge(case: AttackCase, outcomes: dict[str, AttackOutcome]) -> AttackResult:
    if case.why_not:
        return AttackResult(case, "not run", why=case.why_not)
    outcome = outcomes.get(case.case) or outcomes.get("")
    if outcome is None:
        return AttackResult(case, "failed", why="no trial has run it")
    verdict, why = next(_problems(case, outcome), ("as expected", ""))
    return AttackResult(case, verdict, outcome.stage, outcome.failures, why=why)


def _problems(case: AttackCase, outcome: AttackOutcome) -> Iterator[tuple[AttackVerdict, str]]:
    expected = f"{', '.join(case.failures) or 'nothing'} at {case.stage or 'no stage'}"
    found = f"{', '.join(outcome.failures) or 'nothing'} at {outcome.stage or 'no stage'}"
    if outcome.error:
        yield "failed", outcome.error
    if outcome.twin:
        yield "twin refused", f"without the attack: {outcome.twin}"
    if case.failures and not outcome.failures:
        yield "not detected", f"it was accepted, expected {expected}"
    if (set(case.failures), case.stage) != (set(outcome.failures), outcome.stage):
        yield "wrong reason", f"found {found}, expected {expected}"


def _measured(result: AttackResult, samples: pd.DataFrame) -> AttackResult:
    own = samples[samples["part"] == result.attack.case]
    times = own.loc[own["metric"] == DETECTION, "value"]
    sizes = own.loc[own["metric"] == EVIDENCE_SIZE, "value"]
    return msgspec.structs.replace(
        result,
        detection_ns=float(times.median()) if len(times) else None,
        n=len(times),
        evidence_bytes=int(sizes.iloc[0]) if len(sizes) else None,
    )
