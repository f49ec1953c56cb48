"""The HTML page: one self-contained file that needs no script and asks no server."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report import method
from harness.report.answers import count_sentence, headline, verdict_word, warnings
from harness.report.attacks import attacks_sentence, flips_sentence
from harness.report.claim_table import claim_cells
from harness.report.data import Dataset
from harness.report.figure import Plot
from harness.report.numbers import NBSP
from harness.report.table import Table


def _tight(text: str) -> str:
    """Keeps a number and its sign on one line."""
    return text.replace(" %", f"{NBSP}%").replace(
        "\N{ALMOST EQUAL TO} ", f"\N{ALMOST EQUAL TO}{NBSP}"
    )


@dataclass(frozen=True)
class Content:
    """Everything a report shows; ``svgs`` maps a plot's name to its inline SVG."""

    data: Dataset
    claims: Table
    attacks: Table
    plots: Sequence[Plot]
    svgs: dict[str, str]
    tables: Sequence[Table]
    checks: Sequence[Table]
    files: Sequence[str]


def html(content: Content) -> str:
    """The page as text; everything from scenario and provenance is escaped."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tight"] = _tight
    loader = environment.loader
    assert loader is not None
    stylesheet, _, _ = loader.get_source(environment, "style.css")
    data = content.data
    results = data.estimates.claims
    return environment.get_template("index.html.j2").render(
        style=Markup(stylesheet),  # noqa: S704 - our own file
        scenario=data.scenario,
        answer=headline(data),
        count=count_sentence(data),
        emulated=data.emulated(),
        claims=[(result, claim_cells(data, result), verdict_word(result)) for result in results],
        warnings=warnings(data),
        plots=[(plot, Markup(content.svgs.get(plot.name, ""))) for plot in content.plots],  # noqa: S704 - drawn by us, labels escaped by matplotlib
        attacks=content.attacks,
        attacks_claim=attacks_sentence(data),
        flips=flips_sentence(data),
        tables=content.tables,
        checks=content.checks,
        measured=method.measured(data),
        missing_trials=method.missing_trials(data),
        interruptions=method.interruptions(data),
        provenance=method.provenance_lists(data),
        reproduce=method.reproduce(data),
        scenario_text=data.campaign.header.scenario_text.rstrip(),
        files=content.files,
    )
