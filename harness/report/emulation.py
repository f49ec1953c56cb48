"""How figures and tables say that something in them was emulated."""

from collections.abc import Iterable

from harness.store import Emulated

DAGGER = "\N{DAGGER}"


def label(part: str, emulated: Iterable[Emulated]) -> str:
    """The part's name, with a dagger where an emulated thing answers for this very part."""
    return f"{part} {DAGGER}" if any(part in entry.parts for entry in emulated) else part


def caption_note(emulated: tuple[Emulated, ...]) -> str:
    """The sentence under a figure or table whose numbers contain something emulated."""
    if not emulated:
        return ""
    entries = [
        f"{entry.what} ({DAGGER} marks what it answers for)" if entry.parts else entry.what
        for entry in emulated
    ]
    return f"Emulated: {'; '.join(entries)}."
