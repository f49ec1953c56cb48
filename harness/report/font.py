"""The figures' font: DejaVu Sans cut to what figures need, because PDFs embed it again and again.

matplotlib subsets the whole font for every PDF, and most of that time goes into layout tables that
it does not use. Cutting the font once takes a fifth off the time of a report.
"""

import atexit
import tempfile
from functools import cache
from pathlib import Path

from fontTools import subset, ttLib  # type: ignore[import-untyped]
from matplotlib import font_manager, get_data_path

FAMILY = "attestbench figures"
FALLBACK = "DejaVu Sans"  # ships with matplotlib: answers for any other character

_LATIN_AND_GREEK = range(0x20, 0x400)
_PUNCTUATION_AND_SYMBOLS = range(0x2010, 0x22FF)
_UNUSED = ["GSUB", "GPOS", "GDEF", "kern", "FFTM"]


@cache
def register() -> None:
    """Make ``FAMILY`` known to matplotlib; its file lives as long as the process."""
    source = Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    options = subset.Options(glyph_names=True, recommended_glyphs=True)
    options.drop_tables += _UNUSED
    font = ttLib.TTFont(source, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[*_LATIN_AND_GREEK, *_PUNCTUATION_AND_SYMBOLS])
    subsetter.subset(font)
    names = font["name"]
    for identifier, name in ((1, FAMILY), (4, FAMILY), (6, FAMILY.replace(" ", "-"))):
        names.setName(name, identifier, 3, 1, 0x409)
        names.setName(name, identifier, 1, 0, 0)
    folder = tempfile.TemporaryDirectory(prefix="attestbench-font-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "figures.ttf"
    font.save(path)
    font_manager.fontManager.addfont(str(path))
