"""The report as Markdown, and the claims alone, short enough for a pull request."""

from collections.abc import Iterable

from harness.report import method
from harness.report.answers import count_sentence, headline, warnings
from harness.report.attacks import attacks_sentence, flips_sentence
from harness.report.data import Dataset
from harness.report.page import Content
from harness.report.table import Table, markdown_escape, to_markdown


def claims_markdown(data: Dataset, claims: Table) -> str:
    """The answer, the claims table, what was emulated and what to be careful about."""
    blocks = [
        f"**{markdown_escape(data.scenario.title)}**",
        markdown_escape(headline(data)),
        "" if claims.empty else _table(claims),
        markdown_escape(attacks_sentence(data)) if data.estimates.claims else "",
        _emulated(data),
        _bullets(warnings(data)),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def report_markdown(content: Content) -> str:
    """The whole page as Markdown, with figures as links to the PNG files."""
    data = content.data
    blocks = [
        f"# {markdown_escape(data.scenario.title)}",
        markdown_escape(headline(data)),
        "## Claims",
        _emulated(data),
        count_sentence(data),
        *_claims(content),
        _bullets(warnings(data)),
        "## Figures" if content.plots else "",
    ]
    for plot in content.plots:
        blocks.append(f"### {plot.title}")
        if plot.missing:
            blocks.append(markdown_escape(plot.missing))
        else:
            alt = markdown_escape(plot.alt)
            blocks += [f"![{alt}](figures/{plot.name}.png)", markdown_escape(plot.caption)]
    blocks += [
        "## Tables" if content.tables else "",
        *(_captioned(table) for table in content.tables),
    ]
    blocks += ["## How it was measured", *map(markdown_escape, method.measured(data))]
    blocks += [
        "### What was left out, flagged or interrupted",
        markdown_escape(f"{method.missing_trials(data)} {method.interruptions(data)}"),
        *(_captioned(table) for table in content.checks),
        "## Provenance",
        _emulated(data) or "The provenance names nothing as emulated.",
    ]
    for digest, entries in method.provenance_lists(data):
        blocks.append(f"### Machine and software `{digest}`")
        blocks.append(_bullets(f"{key}: {value}" for key, value in entries))
    commands = "\n".join(f"    {line}" for line in method.reproduce(data))
    scenario = "\n".join(f"    {line}" for line in data.campaign.header.scenario_text.splitlines())
    blocks += ["## Reproduce", commands, "The scenario as it was run (scenario.toml):", scenario]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _claims(content: Content) -> list[str]:
    """The claims' table; attacks have a sentence for it, and their table."""
    claim = attacks_sentence(content.data)
    if not claim:
        return [_table(content.claims)]
    claims = [] if content.claims.empty else [_table(content.claims)]
    flips = markdown_escape(flips_sentence(content.data))
    return [*claims, markdown_escape(claim), "## Attacks", flips, _captioned(content.attacks)]


def _table(table: Table) -> str:
    return markdown_escape(table.missing) if table.empty else to_markdown(table).rstrip()


def _captioned(table: Table) -> str:
    if table.empty:
        return markdown_escape(table.missing)
    note = f" {table.note}" if table.note else ""
    return f"**{markdown_escape(table.caption)}**{markdown_escape(note)}\n\n{_table(table)}"


def _emulated(data: Dataset) -> str:
    entries = data.emulated()
    if not entries:
        return ""
    return "**Parts of this were emulated:**\n\n" + _bullets(entry.sentence for entry in entries)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_escape(line)}" for line in lines)
