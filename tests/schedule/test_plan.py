"""The running order of all trials."""

import itertools
from collections import Counter

from run.campaigns import claim_text, scenario_text

from harness.scenario import cells_of, parse_scenario
from harness.schedule import block_seed, plan_trials, trial_id_of

FIXED = scenario_text(blocks="blocks = 6", factors="size = [1, 2, 3]")
PILOT = scenario_text(blocks="pilot = 8", factors="size = [1, 2]", tail=claim_text())


def test_all_arms_of_all_blocks_of_all_cells_once() -> None:
    scenario = parse_scenario(FIXED)
    plan = plan_trials(scenario, {})
    expected = set(itertools.product(cells_of(scenario), range(6), ("base", "base+aa", "slow")))
    assert {(t.cell_id, t.block, t.arm) for t in plan} == expected
    assert len(plan) == len(expected) == len({t.trial_id for t in plan})


def test_blocks_are_contiguous_and_interleaved_over_cells() -> None:
    plan = plan_trials(parse_scenario(FIXED), {})
    runs = [key for key, _ in itertools.groupby(plan, lambda t: (t.block, t.cell_id))]
    assert len(runs) == len(set(runs)) == 6 * 3
    assert [block for block, _ in runs] == sorted(block for block, _ in runs)
    for _, block in itertools.groupby(plan, lambda t: (t.block, t.cell_id)):
        assert [trial.position for trial in block] == [0, 1, 2]


def test_the_cells_take_turns_in_opening_a_round() -> None:
    plan = plan_trials(
        parse_scenario(scenario_text(blocks="blocks = 60", factors="size = [1, 2]")), {}
    )
    openers = Counter(
        next(iter(group)).cell_id for _, group in itertools.groupby(plan, lambda t: t.block)
    )
    assert len(openers) == 2
    assert min(openers.values()) > 15


def test_cells_have_orders_of_their_own() -> None:
    plan = plan_trials(parse_scenario(FIXED), {})
    cells = {trial.cell_id for trial in plan}
    sequences = {tuple(t.arm for t in plan if t.cell_id == cell) for cell in cells}
    assert len(sequences) > 1


def test_plan_before_the_decision_is_a_prefix_of_the_plan_after_it() -> None:
    scenario = parse_scenario(PILOT)
    pilot, full = plan_trials(scenario, {}), plan_trials(scenario, {"w": 14})
    assert full[: len(pilot)] == pilot
    assert Counter(t.block for t in full) == dict.fromkeys(range(14), 6)
    for one, other in itertools.combinations(("base", "base+aa", "slow"), 2):
        for cell in cells_of(scenario):
            place = {(t.block, t.arm): t.position for t in full if t.cell_id == cell}
            before = sum(place[b, one] < place[b, other] for b in range(14))
            assert before == 7


def test_no_extension_when_the_pilot_is_enough() -> None:
    scenario = parse_scenario(PILOT)
    assert plan_trials(scenario, {"w": 8}) == plan_trials(scenario, {})


def test_trial_ids_are_the_same_in_every_process_and_differ_between_campaigns() -> None:
    scenario = parse_scenario(FIXED)
    cell = next(iter(cells_of(scenario).values()))
    other = parse_scenario(FIXED.replace('"demo"', '"other"'))
    assert trial_id_of(scenario, cell, 0, "base") == trial_id_of(scenario, cell, 0, "base")
    assert trial_id_of(scenario, cell, 0, "base") != trial_id_of(other, cell, 0, "base")


def test_inputs_are_shared_by_a_block_and_differ_between_blocks() -> None:
    scenario = parse_scenario(FIXED)
    cells = list(cells_of(scenario).values())
    seeds = [block_seed(scenario, cell, block) for cell in cells for block in range(6)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
