"""Identity of cells: stable over time, sensitive to all that is measured and nothing else."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics import METRICS
from harness.model.errors import InputError
from harness.scenario import arms_of, cells_of, list_scenarios, load_scenario, parse_scenario
from harness.scenario.claims import QUANTILE_FLOORS
from harness.scenario.kinds import WORKLOAD_KINDS

from .test_wrong_files import GOOD

SHIPPED = Path(__file__).resolve().parents[2] / "scenarios"


def test_every_combination_is_one_cell() -> None:
    cells = cells_of(parse_scenario(GOOD))
    assert [cell.factors for cell in cells.values()] == [
        {"ak": "rsa2048", "ima_entries": 500},
        {"ak": "rsa2048", "ima_entries": 2000},
        {"ak": "ecc256", "ima_entries": 500},
        {"ak": "ecc256", "ima_entries": 2000},
    ]


def test_id_is_the_hash_of_canonical_json() -> None:
    first = next(iter(cells_of(parse_scenario(GOOD))))
    written_by_hand = (
        b'{"factors":{"ak":"rsa2048","ima_entries":500},'
        b'"kind":"attestation","options":{},"workload":"attestation"}'
    )
    assert first == hashlib.sha256(written_by_hand).hexdigest()[:16]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("iterations = 60", "iterations = 61"),
        ("blocks = 12", "blocks = 40"),
        ("seed = 7", "seed = 8"),
        ('ak = ["rsa2048", "ecc256"]\nima_entries = [500, 2000]',
         'ima_entries = [500, 2000]\nak = ["rsa2048", "ecc256"]'),
    ],
)  # fmt: skip
def test_id_ignores_how_often_a_cell_is_measured(old: str, new: str) -> None:
    before, after = (set(cells_of(parse_scenario(t))) for t in (GOOD, GOOD.replace(old, new)))
    assert before == after


def test_id_changes_with_what_is_measured() -> None:
    before = set(cells_of(parse_scenario(GOOD)))
    after = set(cells_of(parse_scenario(GOOD.replace("500", "501"))))
    assert len(before & after) == 2


def test_baseline_and_its_copy_are_in_every_block() -> None:
    text = GOOD.replace("blocks = 12", 'blocks = 12\narms = ["framework"]')
    scenario = parse_scenario(text)
    arms = arms_of(scenario, scenario.workloads[0])
    assert list(arms) == ["software-tpm", "software-tpm+aa", "framework"]
    assert arms["software-tpm+aa"].kind == arms["software-tpm"].kind


@pytest.mark.parametrize("path", list_scenarios(SHIPPED), ids=lambda path: path.stem)
def test_shipped_scenarios_are_good_and_named_after_their_file(path: Path) -> None:
    assert load_scenario(path)[0].name == path.stem


def test_three_scenarios_are_shipped() -> None:
    assert {path.stem for path in list_scenarios(SHIPPED)} >= {"smoke", "quick", "paper-framework"}


@pytest.mark.parametrize("name", ["quick", "paper-framework"])
def test_the_published_claims_are_registered(name: str) -> None:
    scenario, _ = load_scenario(SHIPPED / f"{name}.toml")
    claims = {claim.kind: claim for claim in scenario.claims}
    assert (claims["equivalent"].low, claims["equivalent"].high) == (0.08, 0.12)
    assert claims["at_most"].at_most == 0.10
    for claim in claims.values():
        assert claim.factors == {"ak": "rsa2048", "ima_entries": 2000}


def test_kinds_produce_registered_metrics_only() -> None:
    produced = {metric for kind in WORKLOAD_KINDS.values() for metric in kind.produces}
    assert produced == set(METRICS)


def test_floors_are_those_of_the_statistics() -> None:
    from harness.stats.reducers import sample_floor

    assert sample_floor("p10") == QUANTILE_FLOORS["p10"]
    assert sample_floor("p95") == QUANTILE_FLOORS["p95"]
    assert sample_floor("p99") == QUANTILE_FLOORS["p99"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_text_is_refused_in_one_line_or_accepted(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 12))
    noise = data.draw(st.text(max_size=8))
    try:
        parse_scenario(GOOD[:place] + noise + GOOD[place + length :], "x.toml")
    except InputError as error:
        assert str(error).startswith("x.toml: ")
        assert "\n" not in str(error)
