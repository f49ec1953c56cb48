import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from harness.report.attacks import attacks_table
from harness.report.claim_table import claim_cells, claims_table
from harness.report.data import Dataset
from harness.report.numbers import NBSP
from harness.report.page import Content, html

from .conftest import Rendered
from .html_check import Page


@pytest.fixture(scope="module")
def page(report: Rendered) -> Page:
    return Page(report.text("index.html"))


def svgs(report: Rendered) -> list[str]:
    return re.findall(r"<svg .*?</svg>", report.text("index.html"), re.DOTALL)


def test_the_page_is_well_formed_with_unique_ids(page: Page) -> None:
    assert page.errors == []
    assert len(page.ids) == len(set(page.ids))
    assert len(page.ids) > 100


def test_the_page_needs_nothing_from_elsewhere(report: Rendered, page: Page) -> None:
    text = report.text("index.html")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert "@import" not in text
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference.startswith("#")
    for tag, attributes in page.tags:
        for name in ("href", "src", "xlink:href"):
            value = attributes.get(name, "#")
            local = value.startswith("#") or (tag == "a" and (report.folder / value).is_file())
            assert local, f"<{tag} {name}={value}>"
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http://" not in without_namespaces
    assert "https://" not in without_namespaces


def test_references_inside_the_page_lead_somewhere(page: Page) -> None:
    wanted = {
        value[1:]
        for _, attributes in page.tags
        for name in ("href", "xlink:href", "aria-labelledby")
        if (value := attributes.get(name, "")).startswith("#")
    }
    wanted |= {
        attributes["aria-labelledby"]
        for _, attributes in page.tags
        if "aria-labelledby" in attributes
    }
    assert wanted <= set(page.ids)


def test_the_page_is_accessible(report: Rendered, page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all("scope" in attributes for attributes in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(svgs(report)) == 6
    for attributes in page.all("svg"):
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 40


def test_the_order_is_answer_warning_claims_figures_tables_method_provenance(
    report: Rendered,
) -> None:
    text = report.text("index.html")
    marks = [
        'class="answer"',
        'class="warning"',
        'id="table-claims"',
        'id="figure-claims"',
        'id="figure-commands"',
        'id="figure-added-time"',
        'id="figure-phases"',
        'id="figure-drift"',
        'id="figure-launch"',
        'id="table-attestation"',
        'id="table-ablations"',
        'id="method"',
        'id="table-exclusions"',
        'id="table-crosscheck"',
        'id="provenance"',
        'id="reproduce"',
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_the_answer_is_one_sentence_with_estimate_interval_and_verdict(report: Rendered) -> None:
    text = report.text("index.html")
    match = re.search(r'<p class="answer">(.*?)</p>', text, re.DOTALL)
    assert match is not None
    answer = unescape(match[1]).replace(NBSP, " ")
    result = report.estimates.claims[0]
    estimate = result.estimate
    assert estimate is not None
    assert f"{100 * estimate.point:.2f} % more than software-tpm" in answer
    assert f"[+{100 * estimate.low:.2f}, +{100 * estimate.high:.2f}] %" in answer
    assert f"n = {estimate.n_pairs}" in answer
    assert "parts emulated" in answer
    assert answer.endswith("the claim “between 8 % and 12 %” holds.")


def test_every_claims_row_says_interval_n_noise_floor_mde_verdict_and_emulation(
    report: Rendered,
) -> None:
    text = report.text("index.html")
    for result in report.estimates.claims:
        row = re.search(rf'<tr role="row" id="claim-{result.claim_id}">.*?</tr>', text, re.DOTALL)
        assert row is not None
        shown = unescape(row[0]).replace(NBSP, " ")
        estimate, floor = result.estimate, result.noise_floor
        assert estimate is not None
        assert floor is not None
        places = 2 if estimate.high - estimate.low < 0.02 else 1
        assert f"[+{100 * estimate.low:.{places}f}, +{100 * estimate.high:.{places}f}]" in shown
        assert f'data-label="n pairs" class="number">{estimate.n_pairs}<' in shown
        assert f"±{50 * (floor.high - floor.low):.1f} %" in shown
        assert f"{100 * estimate.mde:.2g} %" in shown
        assert result.why in shown
        assert "software CSV secure processor, swtpm" in shown


def test_svgs_take_text_and_axes_from_the_page(report: Rendered) -> None:
    for svg in svgs(report):
        colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'="?url\(#.*?\)', "", svg)))
        dark = {c for c in colours if sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) < 120}
        assert not dark, dark
        assert "black" not in svg
        texts = re.findall(r"<text [^>]*>", svg)
        assert len(texts) > 10
        assert all("fill: currentColor" in text for text in texts)
        assert not re.search(r'fill(: |=")(#ffffff|white)', svg)


def test_svg_files_carry_no_date_and_no_metadata(report: Rendered) -> None:
    for path in sorted((report.folder / "figures").glob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert "<metadata>" not in text
        assert "dc:date" not in text


def test_emulation_is_labelled_where_its_numbers_stand(report: Rendered) -> None:
    text = report.text("index.html")
    assert "report †" in text
    assert text.count("Emulated: software CSV secure processor") >= 5
    assert "report †" in report.text("tables/launch.tex").replace(r"\dag{}", "†")
    assert "Parts of this were emulated" in report.text("claims.md")
    assert "software CSV secure processor" in report.text("tables/estimates.csv")


def test_without_emulation_there_is_no_warning(sparse: Rendered) -> None:
    text = sparse.text("index.html")
    assert 'class="warning"' not in text
    assert "†" not in text
    assert "The provenance names nothing as emulated." in text


def test_missing_data_is_a_sentence_and_never_a_number(sparse: Rendered) -> None:
    text = unescape(sparse.text("index.html"))
    for sentence in (
        "No claim of this scenario has an estimate",
        "No TPM command was measured in both arms, so there is no figure of commands.",
        "No cost model could be fitted",
        "No attestation was measured, so there is no figure of its phases.",
        "This campaign has no ablation arms for attestation.",
        "There is no estimate for the first claim (framework-over-software-tpm)",
    ):
        assert sentence in text
    assert sorted(path.stem for path in (sparse.folder / "figures").glob("*.pdf")) == [
        "drift",
        "launch",
    ]
    cells = [
        claim_cells(Dataset(sparse.campaign, sparse.estimates), result)
        for result in sparse.estimates.claims
    ]
    assert {(c["estimate"], c["mde"], c["verdict"]) for c in cells} == {("no data",) * 3}
    shown = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|None)\b", shown)


def test_flagged_excluded_and_interrupted_trials_are_named_with_their_counts(
    report: Rendered,
) -> None:
    trials = report.campaign.trials
    text = unescape(report.text("index.html")).replace(NBSP, " ")
    lost = trials[trials["status"] != "ok"]
    assert len(lost) > 0
    for reason in set(lost["reason"]):
        assert f"<td>{reason}</td>" in text
    assert f'<td>load</td><td class="number">{int(trials["flagged"].sum())}</td>' in text
    assert "1 block was interrupted" in text
    assert f"{len(report.campaign.plan)} trials planned, {len(trials)} recorded" in text


def test_what_the_scenario_says_is_escaped(report: Rendered) -> None:
    scenario = msgspec.structs.replace(
        report.campaign.scenario, title="<script>alert(1)</script> & co", description="a < b"
    )
    campaign = replace(report.campaign, scenario=scenario, directory=Path("results/x<y"))
    data = Dataset(campaign, report.estimates)
    content = Content(data, claims_table(data), attacks_table(data), [], {}, [], [], [])
    text = html(content)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in text
    assert "# &lt;as run&gt;" in text
    assert Page(text).errors == []
