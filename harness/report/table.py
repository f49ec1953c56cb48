"""A table: raw values for CSV, and the cells people read for HTML, Markdown and LaTeX."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import pandas as pd

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",
    "]": "{]}",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$",
    "\N{MICRO SIGN}": r"\textmu{}",
    "\N{GREEK SMALL LETTER MU}": r"\textmu{}",
    "\N{DAGGER}": r"\dag{}",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "\N{NO-BREAK SPACE}": "~",
}
_TEX_TRANSLATION = str.maketrans(_TEX)


@dataclass(frozen=True)
class Heading:
    """One shown column; ``unit`` stands in the heading, so that cells are bare numbers."""

    text: str
    unit: str = ""
    number: bool = True

    @property
    def label(self) -> str:
        """ "Baseline (µs)"."""
        return f"{self.text} ({self.unit})" if self.unit else self.text


@dataclass(frozen=True)
class Table:
    """``frame`` holds every value at full precision; ``cells`` are the texts under ``headings``.

    ``groups`` (none, or one per row) are shown as a line above the rows they share. Without
    rows, ``missing`` says why.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    headings: tuple[Heading, ...] = ()
    cells: list[tuple[str, ...]] = field(default_factory=list)
    note: str = ""
    missing: str = ""
    groups: tuple[str, ...] = ()

    @property
    def blocks(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """(group, its rows) in order; one block named "" where rows are not grouped."""
        named = zip(self.groups or [""] * len(self.cells), self.cells, strict=True)
        return [
            (name, [cells for _, cells in rows])
            for name, rows in groupby(named, key=lambda row: row[0])
        ]

    @property
    def empty(self) -> bool:
        """True if there is nothing to show."""
        return not self.cells


def tex_escape(text: str) -> str:
    """Plain text that LaTeX sets as it reads."""
    return text.translate(_TEX_TRANSLATION)


def to_csv(table: Table) -> str:
    """All raw values; floats in the shortest form that reads back to the same double."""
    return table.frame.to_csv(index=False, lineterminator="\n")


def to_tex(table: Table) -> str:
    """A booktabs ``table`` environment (needs ``\\usepackage{booktabs}``)."""
    columns = "".join("r" if heading.number else "l" for heading in table.headings)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{tex_escape(' '.join(filter(None, (table.caption, table.note))))}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_tex_row(heading.label for heading in table.headings)}",
        r"    \midrule",
        *(f"    {line}" for name, rows in table.blocks for line in _tex_block(table, name, rows)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_block(table: Table, name: str, rows: list[tuple[str, ...]]) -> list[str]:
    lines = [_tex_row(row) for row in rows]
    if not name:
        return lines
    title = rf"\multicolumn{{{len(table.headings)}}}{{l}}{{\emph{{{tex_escape(name)}}}}} \\"
    return [r"\addlinespace", title, *lines]


def _tex_row(texts: Iterable[str]) -> str:
    return " & ".join(tex_escape(text) for text in texts) + r" \\"


def markdown_escape(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell."""
    for character in "\\`*_|<[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def to_markdown(table: Table) -> str:
    """A pipe table; numbers to the right."""
    rule = ["---:" if heading.number else "---" for heading in table.headings]
    lines = [_markdown_row(heading.label for heading in table.headings)]
    lines.append("| " + " | ".join(rule) + " |")
    for name, rows in table.blocks:
        if name:
            lines.append(f"| **{markdown_escape(name)}** |" + " |" * (len(rule) - 1))
        lines += [_markdown_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(map(markdown_escape, texts)) + " |"
