"""How every figure looks, and how it becomes PDF, SVG, PNG and an SVG inside the page.

Text, axes and grid are drawn in ``INK``; in SVG that becomes ``currentColor``, so one SVG serves
light and dark. Series carry Okabe-Ito colours and a hatch or marker each, for greyscale print.
The same figure always gives the same bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.report import font

INK = "#010203"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, YELLOW, GREY = "#56B4E9", "#E69F00", "#F0E442", "#8C8C8C"
WIDTH_INCHES = 7.2
_LAYOUT_DPI = 288  # fine enough that text measured for the layout is as wide as in SVG and PDF

_STYLE: dict[Any, Any] = {
    "font.family": [font.FAMILY, font.FALLBACK],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.16,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "attestbench",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(
        (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "xtick.color",
            "ytick.color",
            "grid.color",
            "hatch.color",
            "patch.edgecolor",
        ),
        INK,
    ),
}

_DRAWN_WITH = f"'{font.FAMILY}', '{font.FALLBACK}'"
_SHOWN_WITH = "'DejaVu Sans', Verdana, system-ui, sans-serif"


@dataclass(frozen=True)
class Plot:
    """A figure with what a reader needs who can't see it. ``figure`` is None: ``missing`` says why.

    ``name`` is the file name without ending; ``alt`` states what the figure shows in words.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    figure: Figure | None = None
    missing: str = ""


@contextmanager
def style() -> Iterator[None]:
    """Everything inside draws and saves with the report's look."""
    font.register()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(height_inches: float) -> Figure:
    """An empty figure of text width with an automatic layout."""
    figure = Figure((WIDTH_INCHES, height_inches), dpi=_LAYOUT_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr,call-arg]
    return figure


def grid(axes: Axes, axis: str) -> None:
    """Faint lines across one axis."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers (10, 1,000) instead of powers; 1-2-5 steps where the range is short."""
    steps = (1.0,) if high / low > 500 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def save(plot: Plot, folder: Path) -> str:
    """Write ``folder/<name>.{pdf,svg,png}``; returns the SVG element for the page."""
    figure = plot.figure
    if figure is None:
        raise ValueError(f"figure {plot.name} has nothing to save")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)  # laid out once; "none" would still draw twice per format
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = _themable(buffer.getvalue())
    (folder / f"{plot.name}.svg").write_text(svg, encoding="utf-8")
    figure.savefig(
        folder / f"{plot.name}.pdf",
        metadata={"CreationDate": None, "Creator": None, "Producer": None},
    )
    figure.savefig(
        folder / f"{plot.name}.png", dpi=160, facecolor="white", metadata={"Software": None}
    )
    return _element(svg, plot)


def _themable(svg: str) -> str:
    """Ink becomes currentColor, text without a colour inherits it, and no metadata is left."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(_DRAWN_WITH, _SHOWN_WITH)
    return re.sub(r"[ \t]+\n", "\n", svg)


def _element(svg: str, plot: Plot) -> str:
    """The bare ``<svg>`` with ids of its own and its description, to stand inside a page."""
    element = svg[svg.index("<svg ") :]
    element = re.sub(r'\bid="', f'id="{plot.name}-', element)
    element = re.sub(r"url\(#", f"url(#{plot.name}-", element)
    element = re.sub(r'href="#', f'href="#{plot.name}-', element)
    opening = element.index(">")
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", element[:opening])
    label = f' role="img" aria-label="{_attribute(plot.alt)}" class="figure"'
    return head + label + element[opening:].rstrip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
