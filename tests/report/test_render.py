import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.report.data import Dataset
from harness.report.figures.drift import trial_scores

from . import synthetic, synthetic_estimates
from .conftest import FOREIGN, STALE, Rendered, rendered_guests

ROOT = Path(__file__).resolve().parents[2]


def rows_of(report: Rendered, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(report.text(f"tables/{table}.csv").splitlines()))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_results_give_the_same_bytes_in_another_process(
    report: Rendered, tmp_path: Path
) -> None:
    render_again(tmp_path)
    expected, again = files_of(report.folder), files_of(tmp_path)
    assert expected.keys() == again.keys()
    assert [name for name, content in expected.items() if again[name] != content] == []
    assert len(expected) > 40


def render_again(folder: Path, *workloads: str) -> None:
    """The same in another process, with another hash seed and time zone."""
    command = [sys.executable, "-m", "report.render_again", str(folder), *workloads]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": paths, "TZ": "Asia/Tokyo"}
    subprocess.run(command, check=True, env=environment, timeout=120)


def test_the_same_guests_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    some = ("container_start", "containers")
    expected = files_of(rendered_guests(tmp_path / "one", some).folder)
    render_again(tmp_path / "two", *some)
    assert files_of(tmp_path / "two") == expected
    assert "figures/demonstration.svg" in expected


def test_every_figure_exists_in_three_formats(report: Rendered) -> None:
    names = {"claims", "commands", "added-time", "phases", "drift", "launch"}
    magic = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
    for name in names:
        for ending, start in magic.items():
            assert (report.folder / f"figures/{name}.{ending}").read_bytes().startswith(start)
    assert len(list((report.folder / "figures").iterdir())) == 18


def test_estimates_in_csv_equal_the_estimates_to_the_last_bit(report: Rendered) -> None:
    rows = rows_of(report, "estimates")
    assert len(rows) == len(report.estimates.estimates) > 200
    for row, estimate in zip(rows, report.estimates.estimates, strict=True):
        for name in estimate.__struct_fields__:
            value = getattr(estimate, name)
            if isinstance(value, float):
                assert float(row[name]) == value, name
        assert json.loads(row["factors"]) == estimate.factors
        assert int(row["n_pairs"]) == estimate.n_pairs


def test_claims_in_csv_equal_the_claims(report: Rendered) -> None:
    for row, result in zip(rows_of(report, "claims"), report.estimates.claims, strict=True):
        assert result.estimate is not None
        assert result.noise_floor is not None
        assert float(row["point"]) == result.estimate.point
        assert float(row["low90"]) == result.estimate.low90
        assert float(row["noise_floor_low"]) == result.noise_floor.low
        assert json.loads(row["excluded_trials"]) == result.excluded_trials
        assert row["verdict"] == result.verdict


def test_phase_means_equal_a_plain_loop_over_the_samples(report: Rendered) -> None:
    samples, trials = report.campaign.samples, report.campaign.trials
    row = next(
        row
        for row in rows_of(report, "phases")
        if (row["cell_id"], row["arm"], row["part"], row["phase"])
        == ("a500", "framework", "quote", "measured")
    )
    quotes = samples[samples["part"] == "quote"]
    ids = trials.query("cell_id == 'a500' and arm == 'framework' and status == 'ok'")["trial_id"]
    means = [
        np.mean(
            [
                value
                for trial, phase, value in zip(
                    *(quotes[name] for name in ("trial_id", "phase", "value")), strict=True
                )
                if (trial, phase) == (wanted, "measured")
            ]
        )
        for wanted in ids
    ]
    assert float(row["mean"]) == pytest.approx(np.mean(means), rel=1e-12)
    assert int(row["n"]) == len(means)


def test_trials_without_ok_give_no_number_but_stay_in_the_list(report: Rendered) -> None:
    trials = report.campaign.trials
    assert len(rows_of(report, "trials")) == len(trials)
    data = Dataset(report.campaign, report.estimates)
    lost = set(trials.loc[trials["status"] != "ok", "trial_id"])
    assert lost
    assert lost.isdisjoint(data.trial_means["trial_id"])


def test_drift_scores_are_relative_to_the_arm_and_the_cell(report: Rendered) -> None:
    scores = trial_scores(Dataset(report.campaign, report.estimates))
    medians = scores.groupby(["cell_id", "arm"])["deviation"].median()
    assert medians.abs().max() < 0.01
    assert scores["trial_id"].is_unique
    ok = report.campaign.trials["status"] == "ok"
    assert len(scores) == ok.sum()


def test_cells_are_never_pooled(report: Rendered) -> None:
    rows = rows_of(report, "attestation")
    steady = {row["cell_id"]: float(row["point"]) for row in rows if row["phase"] == "measured"}
    assert steady.keys() == {"a500", "a2000"}
    assert steady["a500"] > steady["a2000"] + 0.02


def test_claims_alone_fit_into_a_pull_request(report: Rendered) -> None:
    text = report.text("claims.md")
    assert len(text) < 3000
    assert text.count("\n| ") == 2 + len(report.estimates.claims)
    assert "<" not in text.replace("\\<", "")


def test_the_markdown_report_links_every_figure(report: Rendered) -> None:
    text = report.text("report.md")
    linked = re.findall(r"\]\((figures/[a-z-]+\.png)\)", text)
    assert len(linked) == 6
    assert all((report.folder / name).is_file() for name in linked)


@pytest.mark.parametrize("of", ["report", "guests"])
def test_tables_are_whole_latex(of: str, request: pytest.FixtureRequest) -> None:
    """Checked by its structure: TeX itself would be half a gigabyte of set-up."""
    report = request.getfixturevalue(of)
    tables = sorted((report.folder / "tables").glob("*.tex"))
    assert len(tables) > 10
    for path in tables:
        text = path.read_text(encoding="utf-8")
        bare = re.sub(r"\\[\\{}&%#_$]", "", text)
        assert bare.count("{") == bare.count("}"), path.name
        assert bare.count("$") % 2 == 0, path.name
        assert not re.search(r"[%#^]", bare), path.name
        columns = len(re.search(r"\\begin{tabular}{([lrc]+)}", text)[1])  # type: ignore[index]
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert rows, path.name
        for row in rows:
            spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", row)]
            cells = len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) - len(spans)
            assert cells == columns, f"{path.name}: {row}"
        begun = re.findall(r"\\begin{(\w+)}", text)
        assert begun == re.findall(r"\\end{(\w+)}", text)[::-1], path.name


def test_figures_of_an_earlier_report_do_not_survive(sparse: Rendered) -> None:
    assert not (sparse.folder / STALE).exists()
    assert (sparse.folder / FOREIGN).read_bytes() == b"old"


def test_a_million_samples_are_grouped_in_a_fraction_of_the_time_of_a_report() -> None:
    campaign = synthetic.campaign(Path("results/big"), iterations=560)
    assert len(campaign.samples) > 1_000_000
    data = Dataset(
        campaign, synthetic_estimates.estimates(synthetic.campaign(Path("results/s"), blocks=4))
    )
    start = time.process_time()
    assert len(data.arm_means) > 200
    assert time.process_time() - start < 4.0
