import csv
import io
import math
import re

import pandas as pd

from harness.report.table import Heading, Table, tex_escape, to_csv, to_markdown, to_tex

AWKWARD = r"a_b & 50% of $x$ #1 {y} ~z^2 \n <tag> [0]"


def table(groups: tuple[str, ...] = ()) -> Table:
    values = [0.1 + 0.2, math.pi * 1e9]
    frame = pd.DataFrame({"name": [AWKWARD, "µs \N{MINUS SIGN} ≈"], "value": values})
    headings = (Heading("Name & co", number=False), Heading("Time", "µs"))
    cells: list[tuple[str, ...]] = [(AWKWARD, "1"), ("µs \N{MINUS SIGN} ≈", "[2, 3]")]
    return Table("t", "A caption with 100 %", frame, headings, cells, "† note", groups=groups)


def test_csv_reads_back_to_the_same_doubles() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table()))))
    assert [float(row["value"]) for row in rows] == [0.1 + 0.2, math.pi * 1e9]
    assert rows[0]["name"] == AWKWARD


def test_tex_escapes_every_special_character() -> None:
    assert (
        tex_escape(AWKWARD)
        == r"a\_b \& 50\% of \$x\$ \#1 \{y\} \textasciitilde{}z\textasciicircum{}2 "
        r"\textbackslash{}n \textless{}tag\textgreater{} {[}0{]}"
    )


def test_tex_is_a_balanced_booktabs_table_with_units_in_its_headings() -> None:
    tex = to_tex(table(("one", "two_2")))
    assert tex.count(r"\begin{") == tex.count(r"\end{") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert tex.count(rule) == 1
    assert r"Time (\textmu{})".replace("{}", "{}s") in tex
    assert r"\multicolumn{2}{l}{\emph{two\_2}} \\" in tex
    bare = re.sub(r"\\[\\{}&%$#_]", "", tex)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in bare.splitlines() if "&" in line]
    assert len(rows) == 3
    assert all(line.count("&") == 1 for line in rows)
    assert "%" not in bare
    assert "#" not in bare


def test_a_cell_of_tex_that_begins_with_a_bracket_does_not_end_the_row_as_an_option() -> None:
    assert r"\\ [" not in to_tex(table())
    assert "{[}2, 3{]}" in to_tex(table())


def test_markdown_keeps_its_columns_whatever_the_cells_hold() -> None:
    awkward = Table(
        "t", "c", pd.DataFrame(), (Heading("A", number=False), Heading("B")), [("a|b\nc", "1")]
    )
    lines = to_markdown(awkward).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert lines[2] == "| a\\|b c | 1 |"


def test_rows_are_shown_under_the_group_they_share() -> None:
    grouped = table(("one", "one"))
    assert [(name, len(rows)) for name, rows in grouped.blocks] == [("one", 2)]
    assert to_markdown(grouped).splitlines()[2] == "| **one** | |"
    assert table().blocks[0][0] == ""
