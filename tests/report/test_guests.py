"""The report of a campaign of guests: counted work, composed time, and two containers."""

import csv
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from harness.model.scenario import Cell
from harness.report import render
from harness.report.answers import headline, warnings
from harness.report.composed import composed_table
from harness.report.counted_tables import counted_tables, new_work_table, overhead_table
from harness.report.data import Dataset
from harness.report.demo import OVERFLOW, demonstrations
from harness.report.figure import style
from harness.report.figures import all_figures, demonstration, overhead
from harness.report.method import measured
from harness.report.numbers import NBSP
from harness.stats import estimate_campaign
from harness.store import Campaign

from . import synthetic_ima
from .conftest import Rendered
from .html_check import Page
from .synthetic_ima_scenario import FRAMEWORK, OFF, PATCHED, STOCK

FIGURES = {
    "claims",
    "overhead-files",
    "overhead-work",
    "file-sizes",
    "new-work",
    "domains",
    "list-growth",
    "demonstration",
    "boot",
    "guest-commands",
    "guest-phases",
    "drift",
}


@pytest.fixture(scope="module")
def data(guests: Rendered) -> Dataset:
    return Dataset(guests.campaign, guests.estimates)


def rows_of(report: Rendered, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(report.text(f"tables/{table}.csv").splitlines()))


def with_notes(campaign: Campaign, arm: str, **notes: str) -> Campaign:
    records = tuple(
        msgspec.structs.replace(r, notes={**r.notes, **notes}) if r.arm == arm else r
        for r in campaign.records
    )
    return replace(campaign, records=records)


def test_only_what_was_in_scope_has_a_figure_or_table(guests: Rendered, report: Rendered) -> None:
    drawn = {path.stem for path in (guests.folder / "figures").iterdir()}
    assert drawn == FIGURES
    for name in ("commands", "attestation", "launch", "cost_model", "ablations"):
        assert not (guests.folder / f"tables/{name}.csv").exists()
    text = unescape(guests.text("index.html"))
    assert "No TPM command was measured" not in text
    assert "No attestation was measured" not in text
    assert "instructions" not in report.text("index.html")
    assert not (report.folder / "tables/overhead.csv").exists()


def test_the_page_is_well_formed_and_drawn_in_ink(guests: Rendered) -> None:
    text = guests.text("index.html")
    page = Page(text)
    assert page.errors == []
    assert len(page.ids) == len(set(page.ids))
    assert len(page.all("svg")) == len(FIGURES)
    assert all(len(svg["aria-label"]) > 40 for svg in page.all("svg"))
    for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'="?url\(#.*?\)', "", svg)))
        assert not {c for c in colours if sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) < 120}
        assert not re.search(r'fill(: |=")(#ffffff|white)', svg)
    shown = re.sub(r"<svg.*?</svg>", "", unescape(text), flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|None)\b", shown)


def test_an_instruction_count_is_never_called_a_time(guests: Rendered, data: Dataset) -> None:
    answer = headline(data).replace(NBSP, " ")
    assert answer.startswith(
        "For the first exec of a 16 KiB file in a container, ima-namespaced executes "
    )
    assert "more instructions than ima-stock" in answer
    assert "6 pairs of guests, a salt each" in answer
    assert "the claim “at most 1 % more instructions” holds." in answer
    assert not re.search(r"latency|costs|faster|slower", answer)
    claims = guests.text("claims.md")
    assert "latency" not in claims
    rows = [line for line in claims.splitlines() if line.startswith("| ")][2:]
    assert all("instructions" in row for row in rows)
    for name in ("overhead", "new_work"):
        tex = guests.text(f"tables/{name}.tex")
        assert not re.search(r"latency|\((ns|ms|\\textmu)", tex)


def test_equal_counts_are_exactly_equal() -> None:
    campaign = synthetic_ima.campaign(Path("results/equal"), workloads=("file_measurement",))
    samples = campaign.samples
    stock = samples.assign(value=1000.0).where(samples["unit"] == "instructions", samples)
    same = replace(campaign, samples=stock)
    data = Dataset(same, estimate_campaign(same))
    answer = headline(data).replace(NBSP, " ")
    assert "executes exactly as many instructions as ima-stock" in answer
    assert "[0.00, 0.00] %" in answer
    assert warnings(data) == []
    with style():
        assert overhead.files_plot(data).figure is not None


def test_an_interval_without_width_is_shown_as_one(guests: Rendered) -> None:
    row = next(
        line for line in guests.text("claims.md").splitlines() if "open-again-in-container" in line
    )
    assert re.search(r"\+0\.37 % \\\[\+0\.37, \+0\.37\\\] instructions", row.replace(NBSP, " "))
    assert "±0.00 %" in row.replace(NBSP, " ")


def test_overhead_holds_equal_work_only_and_new_work_has_no_percentage(data: Dataset) -> None:
    equal, new = overhead_table(data), new_work_table(data)
    assert set(equal.frame["candidate"]) == {PATCHED, "ima-namespaced-tcb"}
    assert not equal.frame["part"].str.contains("second.*first").any()
    assert equal.frame["part"].str.contains("second.*again").any()
    assert not any("container start" in row[0] for row in equal.cells)
    assert "%" not in "".join(heading.label for heading in new.headings[:-2])
    assert all("%" not in "".join(row) for row in new.cells)
    assert OFF not in set(new.frame["candidate"])


def test_overhead_in_csv_equals_plain_medians(guests: Rendered) -> None:
    part = "container.exec.first.16KiB"
    samples, trials = guests.campaign.samples, guests.campaign.trials
    medians = samples[samples["part"] == part].groupby("trial_id")["value"].median()
    table = trials.set_index("trial_id").join(medians, how="inner").query("status == 'ok'")
    wide = table.pivot(index="block", columns="arm", values="value")
    ratio = np.exp(np.log(wide[PATCHED] / wide[STOCK]).mean()) - 1
    row = next(
        r for r in rows_of(guests, "overhead") if (r["part"], r["candidate"]) == (part, PATCHED)
    )
    assert float(row["point"]) == pytest.approx(ratio, rel=1e-9)
    assert row["reducer"] == "median"


def test_composed_time_is_extends_times_their_latency(guests: Rendered, data: Dataset) -> None:
    row = next(r for r in rows_of(guests, "composed") if r["cell_id"] == "s16")
    means = guests.campaign.samples.query("part == 'pcr_extend'").merge(
        guests.campaign.trials.query("status == 'ok' and arm == @FRAMEWORK"), on="trial_id"
    )
    latency = means.groupby("trial_id")["value"].mean().mean()
    # 16 containers: 16 ns_create and 32 files more, by 16 starts of a new and 16 of a known program.
    assert float(row["extends_added"]) == pytest.approx(48 / 32)
    assert float(row["framework_ns"]) == pytest.approx(1.5 * latency, rel=1e-9)
    table = composed_table(data)
    assert table.caption.startswith("Composed, not measured:")
    assert "n = " in table.note.replace(NBSP, " ")


def test_without_the_latency_of_an_extend_no_time_is_composed() -> None:
    campaign = synthetic_ima.campaign(Path("results/c"), workloads=("container_start",))
    data = Dataset(campaign, estimate_campaign(campaign))
    table = composed_table(data)
    assert "was not measured in this campaign, so no time is given" in table.note
    assert not any("TPM" in heading.label for heading in table.headings)
    assert len(table.cells) == 6


def test_tpms_alone_have_no_counted_tables_and_their_own_baseline() -> None:
    campaign = synthetic_ima.campaign(Path("results/t"), workloads=("guest_tpm_commands",))
    data = Dataset(campaign, estimate_campaign(campaign))
    assert counted_tables(data) == []
    with style():
        plots = {plot.name: plot for plot in all_figures(data)}
    assert plots.keys() == {"claims", "guest-commands", "drift"}
    assert "1.2 ms" in plots["guest-commands"].caption
    assert "framework / software-tpm" in plots["guest-commands"].caption
    assert not any("instructions" in sentence for sentence in measured(data))


def test_guests_that_all_failed_still_give_a_page(guests: Rendered, tmp_path: Path) -> None:
    trials = guests.campaign.trials.assign(status="failed", reason="no DONE")
    nothing = replace(guests.campaign, trials=trials, samples=guests.campaign.samples.iloc[:0])
    campaign = with_notes(with_notes(nothing, STOCK, ima_demo=""), FRAMEWORK, ima_demo="")
    render(campaign, estimate_campaign(campaign), tmp_path)
    text = unescape((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "<svg" not in text
    for sentence in (
        "No file operation was counted, so there is no figure of file sizes.",
        "No numbers of domains were tried",
        "No boot was measured",
        "No equal work was counted in both arms.",
        "The entries of the measurement lists were not counted.",
        "Nothing to compose",
    ):
        assert sentence in text


def test_a_single_block_is_drawn_without_an_interval(tmp_path: Path) -> None:
    campaign = synthetic_ima.campaign(Path("results/one"), 1, ("namespace_scale", "guest_boot"))
    render(campaign, estimate_campaign(campaign), tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert Page(text).errors == []
    assert (tmp_path / "figures/domains.svg").exists()
    assert (tmp_path / "figures/boot.svg").exists()
    assert "(one trial)" in text
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))


def test_sizes_of_several_cells_are_drawn_together(guests: Rendered) -> None:
    samples = guests.campaign.samples
    large = samples["part"].str.endswith("64MiB")
    workload = msgspec.structs.replace(guests.campaign.scenario.workloads[0], name="large-files")
    trials = guests.campaign.trials
    both = trials[trials["workload"] == "file_measurement"]
    other = both.assign(cell_id="large", workload="large-files", trial_id="L" + both["trial_id"])
    moved = samples["trial_id"].isin(both["trial_id"]) & large
    renamed = samples["trial_id"].where(~moved, "L" + samples["trial_id"])
    scenario = guests.campaign.scenario
    campaign = replace(
        guests.campaign,
        scenario=msgspec.structs.replace(scenario, workloads=(*scenario.workloads, workload)),
        cells={**guests.campaign.cells, "large": Cell("large", "large-files", {})},
        trials=pd.concat([trials, other]),
        samples=samples.assign(trial_id=renamed),
    )
    data = Dataset(campaign, estimate_campaign(campaign))
    with style():
        plots = {plot.name: plot for plot in all_figures(data)}
    assert "64 MiB" in plots["file-sizes"].alt
    figure = plots["overhead-files"].figure
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == len(set(labels)) == 3 * 3 * 4


def test_the_method_says_how_counting_works_and_what_it_misses(data: Dataset) -> None:
    text = " ".join(measured(data))
    for words in (
        "The same boot gives the same count",
        "the noise floor of a count is layout noise",
        "never as a percentage",
        "An instruction count is no time. It can't see caches",
        "(in guest_tpm_commands software-tpm, in guest_attestation software-tpm)",
        "containers: a demonstration, one trial per arm",
    ):
        assert words in text


def test_layout_noise_alone_is_no_warning_but_a_shifted_copy_is(data: Dataset) -> None:
    first = data.estimates.claims[0]
    measured_floor = first.noise_floor
    assert measured_floor is not None

    def shifted(by: float) -> list[str]:
        floor = msgspec.structs.replace(measured_floor, point=by, low=by, high=by)
        result = msgspec.structs.replace(first, noise_floor=floor)
        only = msgspec.structs.replace(data.estimates, claims=(result,))
        return warnings(Dataset(data.campaign, only))

    assert shifted(0.00005) == []
    assert any("an interval that excludes 0" in line for line in shifted(0.001))


def test_the_demonstration_says_who_measured_what(data: Dataset) -> None:
    stock, patched = demonstrations(data)
    assert (stock.arm, patched.arm) == (STOCK, FRAMEWORK)
    assert stock.domains == [0]
    assert [patched.name(domain) for domain in patched.domains[1:]] == ["tenant-a", "tenant-b"]
    with style():
        plot = demonstration.plot(data)
    assert plot is not None
    assert "whole guest: nobody can say who 8 in PCR 10" in plot.alt
    assert "tenant-a 2 in PCR 10, 3 in PCR 11" in plot.alt
    assert plot.figure is not None
    texts = [text.get_text() for axes in plot.figure.axes for text in axes.texts]
    assert texts.count("ns_create, by 51c2e9") == 2
    assert "container-manager 51c2e9" in texts
    assert "PCR 11: no entries" in texts
    assert plot.caption.endswith("What ran: host runs app1; tenant-a runs app1, app2, app3.")


@pytest.mark.parametrize("note", ["", "no json", "{}", "[1, null]", '[{"kind": "file"}]'])
def test_a_damaged_note_is_no_demonstration(data: Dataset, note: str) -> None:
    damaged = data.campaign
    for arm in (STOCK, FRAMEWORK):
        damaged = with_notes(damaged, arm, ima_demo=note, ima_replay=note, ima_events=note)
    assert demonstration.plot(Dataset(damaged, data.estimates)) is None


def test_a_long_list_is_cut_and_the_overflow_domain_is_named(data: Dataset) -> None:
    file = {"pcr": 10, "kind": "file", "path": "/lib/x", "domain": 0, "cid": "", "digest": "ab"}
    over = {**file, "pcr": 11, "domain": OVERFLOW, "cid": "overflow"}
    note = json.dumps([*([file] * 150), *([over] * 100)])
    only = Dataset(with_notes(data.campaign, FRAMEWORK, ima_demo=note), data.estimates)
    shown = demonstrations(only)[1]
    assert len(shown.entries) == 200
    assert shown.name(OVERFLOW) == "overflow"
    with style():
        plot = demonstration.plot(only)
    assert plot is not None
    assert plot.figure is not None
    texts = [text.get_text() for axes in plot.figure.axes for text in axes.texts]
    assert "and 136 more" in texts
    assert "and 36 more" in texts


def test_chips_stay_inside_their_column(data: Dataset) -> None:
    for one in demonstrations(data):
        chips, lanes, height = demonstration._layout(one)
        assert all(top < bottom <= height for _, top, bottom in lanes)
        for chip in chips:
            inside = any(top <= chip.y <= bottom for _, top, bottom in lanes)
            assert inside
            assert chip.x + chip.width < 7.2
