"""Who measured what, in which PCR: the measurement lists of the demonstration as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch

from harness.report.data import Dataset
from harness.report.demo import HOST, Demonstration, Entry, demonstrations
from harness.report.figure import (
    GREEN,
    INK,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH_INCHES,
    Plot,
    new_figure,
)

NAME, TITLE = "demonstration", "Two containers from one image: who measured what, in which PCR"

# Everything in inches: a chip is as wide as its text, and lanes are as high as their chips.
_CHARACTER, _PAD, _CHIP, _LINE, _GAP = 0.06, 0.13, 0.2, 0.28, 0.07
_LANE_LABEL, _MIDDLE, _EDGE = 0.95, 0.3, 0.12
_COLUMN = (WIDTH_INCHES - 0.3 - _LANE_LABEL - _MIDDLE - _EDGE) / 2
_HEAD, _LANE_PAD, _FOOT = 0.62, 0.14, 0.12
_MOST_CHIPS, _LONGEST = 14, 24
_COLOURS = {
    "file": SKY,
    "boot_aggregate": SKY,
    "ns_create": GREEN,
    "ns_aggregate": PURPLE,
    "violation": VERMILLION,
}
_MEANING = {
    "file": "file, with its hash",
    "ns_create": "new domain, with its creator's hash",
    "ns_aggregate": "sealed aggregate of a domain",
    "violation": "violation",
}


@dataclass(frozen=True)
class Chip:
    """One entry at its place; ``x``, ``y``: its left end and middle."""

    entry: Entry | None
    text: str
    x: float
    y: float

    @property
    def width(self) -> float:
        """As wide as the text, in inches."""
        return _width(self.text)


def _width(text: str) -> float:
    return _CHARACTER * len(text) + _PAD


def plot(data: Dataset) -> Plot | None:
    """The picture; None where no trial has the demonstration's note."""
    shown = demonstrations(data)
    if not shown:
        return None
    laid_out = [(one, *_layout(one)) for one in shown]
    heights = [height for _, _, _, height in laid_out]
    figure = new_figure(sum(heights) + 0.45)
    engine = figure.get_layout_engine()
    engine.set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)  # type: ignore[union-attr,call-arg]
    every = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (one, chips, lanes, height) in zip(every, laid_out, strict=True):
        axes.set(xlim=(0, WIDTH_INCHES - 0.1), ylim=(height, 0))
        axes.axis("off")
        _draw(axes, one, chips, lanes)
    kinds = dict.fromkeys(e.kind for one in shown for e in one.entries if e.kind in _MEANING)
    handles = [
        Patch(fc=(_COLOURS[kind], 0.4), ec=INK, lw=0.6, label=_MEANING[kind]) for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return Plot(NAME, TITLE, _caption(shown), _alt(shown), figure)


def _layout(one: Demonstration) -> tuple[list[Chip], list[tuple[int, float, float]], float]:
    """Chips, lanes as (domain, top, bottom), and the height of the panel."""
    chips: list[Chip] = []
    lanes = []
    y = _HEAD
    for domain in one.domains:
        top = y
        lines = 1
        for column, pcr in enumerate((10, 11)):
            of = [e for e in one.entries if (e.domain, e.pcr) == (domain, pcr)]
            left = _LANE_LABEL + column * (_COLUMN + _MIDDLE)
            placed, used = _flow(_choose(one, of), left, top + _LANE_PAD)
            chips += placed
            lines = max(lines, used)
        y = top + lines * _LINE + 2 * _LANE_PAD - (_LINE - _CHIP)
        lanes.append((domain, top, y))
    return chips, lanes, y + _FOOT


def _choose(one: Demonstration, entries: Sequence[Entry]) -> list[tuple[Entry | None, str]]:
    """What tells the story first: creators, files that several touched, anything but files."""
    manager = {e.digest for e in one.entries if e.kind == "ns_create"}
    inside = {e.path for e in one.entries if e.domain != HOST}

    def matters(e: Entry) -> bool:
        return e.kind != "file" or e.domain != HOST or e.digest in manager or e.path in inside

    chosen = list(entries)
    if len(chosen) > _MOST_CHIPS:
        first = [e for e in chosen if matters(e)][:_MOST_CHIPS]
        rest = [e for e in chosen if not matters(e)][: _MOST_CHIPS - len(first)]
        kept = {id(e) for e in (*first, *rest)}
        chosen = [e for e in chosen if id(e) in kept]
    named: list[tuple[Entry | None, str]] = [(e, _text(e, manager)) for e in chosen]
    if len(chosen) < len(entries):
        named.append((None, f"and {len(entries) - len(chosen)} more"))
    return named


def _text(e: Entry, manager: set[str]) -> str:
    if e.kind == "ns_create":
        return f"ns_create, by {e.digest[:6]}"
    if e.kind == "ns_aggregate":
        return f"sealed {e.digest[:6]}"
    name = e.path.rsplit("/", 1)[-1] or e.path
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST // 2]}\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST // 2 + 1 :]}"
    if e.kind == "violation":
        return f"{name}: violation"
    return f"{name} {e.digest[:6]}" if e.digest in manager else name


def _flow(
    texts: Sequence[tuple[Entry | None, str]], left: float, top: float
) -> tuple[list[Chip], int]:
    """Chips from left to right, wrapped at the column's end, and the lines they take."""
    chips = []
    x, line = left, 0
    for entry, text in texts:
        width = _width(text)
        sealed = entry is not None and entry.kind == "ns_aggregate"
        if x > left and (sealed or x + width > left + _COLUMN):
            x, line = left, line + 1
        chips.append(Chip(entry, text, x, top + line * _LINE + _CHIP / 2))
        x += width + _GAP
    return chips, line + 1


def _draw(
    axes: Axes, one: Demonstration, chips: Sequence[Chip], lanes: Sequence[tuple[int, float, float]]
) -> None:
    right = _LANE_LABEL + 2 * _COLUMN + _MIDDLE
    lists = "one list for the whole guest" if len(one.domains) == 1 else "a list per container"
    axes.text(0, 0.16, f"{one.arm}: {lists}", fontsize=9.5, va="center")
    for column, pcr in enumerate((10, 11)):
        x = _LANE_LABEL + column * (_COLUMN + _MIDDLE)
        replay = one.replay.get(str(pcr), "")
        note = f" (replay against the quote: {replay})" if replay else ""
        if not any(e.pcr == pcr for e in one.entries):
            note = ": no entries"
        axes.text(x, 0.44, f"PCR {pcr}{note}", fontsize=8, va="center")
    for place, (domain, top, bottom) in enumerate(lanes):
        if place % 2 == 0:
            axes.add_patch(_band(right, top, bottom))
        axes.text(0.06, (top + bottom) / 2, _lane(one, domain), fontsize=8, va="center")
    for chip in chips:
        _draw_chip(axes, chip)
    _draw_arrows(axes, chips)


def _band(right: float, top: float, bottom: float) -> Patch:
    style = "round,pad=0,rounding_size=0.04"
    return FancyBboxPatch((0, top), right + 0.04, bottom - top, style, fc=(INK, 0.05), ec="none")


def _lane(one: Demonstration, domain: int) -> str:
    if len(one.domains) == 1:
        return "whole guest:\nnobody can\nsay who"
    return "guest host" if domain == HOST else one.name(domain)


def _draw_chip(axes: Axes, chip: Chip) -> None:
    if chip.entry is not None:
        box = FancyBboxPatch(
            (chip.x, chip.y - _CHIP / 2), chip.width, _CHIP, "round,pad=0,rounding_size=0.05",
            fc=(_COLOURS[chip.entry.kind], 0.4), ec=(INK, 0.7), lw=0.6,
        )  # fmt: skip
        axes.add_patch(box)
    middle = chip.x + chip.width / 2
    axes.text(middle, chip.y, chip.text, fontsize=7, ha="center", va="center")


def _draw_arrows(axes: Axes, chips: Sequence[Chip]) -> None:
    """From a creator's file to the records that name its hash, and on into their container.

    The first way runs between the lines and down the left edge, so that it crosses no chip.
    """
    creators: dict[str, Chip] = {}
    for chip in chips:
        if chip.entry is not None and chip.entry.kind == "file" and chip.entry.pcr == 10:
            creators.setdefault(chip.entry.digest, chip)
    for chip in chips:
        entry = chip.entry
        if entry is None or entry.kind != "ns_create":
            continue
        creator = creators.get(entry.digest)
        if creator is not None:
            _way_down(axes, creator, chip)
        inside = [
            c for c in chips if c.entry and (c.entry.domain, c.entry.pcr) == (entry.domain, 11)
        ]
        if inside:
            first = min(inside, key=lambda c: (c.y, c.x))
            row = [c for c in chips if c.y == chip.y and c.x < first.x and c.x >= chip.x]
            last = max(row, key=lambda c: c.x)
            _arrow(axes, (last.x + last.width, chip.y), (first.x, first.y))


def _way_down(axes: Axes, creator: Chip, chip: Chip) -> None:
    below, edge = creator.y + _LINE / 2, chip.x - _MIDDLE / 2
    middle = creator.x + min(creator.width / 2, 0.3)
    xs, ys = (middle, middle, edge, edge), (creator.y + _CHIP / 2, below, below, chip.y)
    axes.plot(xs, ys, color=INK, lw=0.8, solid_joinstyle="round")
    _arrow(axes, (edge, chip.y), (chip.x, chip.y))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start,
        arrowprops={
            "arrowstyle": "-|>", "color": INK, "lw": 0.8, "mutation_scale": 8, "shrinkA": 0,
            "shrinkB": 1,
        },
    )  # fmt: skip


def _caption(shown: Sequence[Demonstration]) -> str:
    text = (
        "Every box is one entry of the guest's measurement list, from left to right in the order "
        "of the list, beside who made it and below the PCR that it extends. "
    )
    if any(e.kind == "ns_create" for one in shown for e in one.entries):
        text += (
            "Arrows lead from the program that made a container to the record of its new domain, "
            "which names that program's hash, and on to what the container itself measured. "
        )
    if any(len(one.domains) == 1 for one in shown):
        text += (
            "Stock IMA has one list for the whole guest and logs a file once, whoever ran it "
            "first: what a container ran after the host leaves no entry."
        )
    events = dict.fromkeys(event for one in shown for event in one.events)
    text = text.strip()
    return f"{text} What ran: {'; '.join(events)}." if events else text


def _alt(shown: Sequence[Demonstration]) -> str:
    texts = []
    for one in shown:
        lanes = []
        for domain in one.domains:
            of = [e for e in one.entries if e.domain == domain]
            who = _lane(one, domain).replace("\n", " ")
            counts = ", ".join(
                f"{n} in PCR {pcr}" for pcr in (10, 11) if (n := sum(e.pcr == pcr for e in of))
            )
            lanes.append(f"{who} {counts or 'no entries'}")
        texts.append(f"{one.arm}: " + "; ".join(lanes))
    return "Entries of the measurement list by who made them. " + ". ".join(texts) + "."
