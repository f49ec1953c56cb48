"""What stood in for the real thing, as the provenance of the trials names it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Emulated:
    """One entry of ``provenance["emulated"]``; ``parts`` (optional there) names metric parts."""

    what: str
    instead_of: str
    note: str
    parts: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """ "software CSV processor instead of Hygon secure processor (note)"."""
        instead = f" instead of {self.instead_of}" if self.instead_of else ""
        return f"{self.what}{instead}" + (f" ({self.note})" if self.note else "")


def emulated_in(provenances: Iterable[Mapping[str, object]]) -> tuple[Emulated, ...]:
    """Every different entry once, in order of first appearance."""
    found: dict[Emulated, None] = {}
    for provenance in provenances:
        entries = provenance.get("emulated", ())
        for entry in entries if isinstance(entries, list | tuple) else ():
            found.setdefault(_entry(entry))
    return tuple(found)


def _entry(entry: object) -> Emulated:
    if not isinstance(entry, Mapping):
        return Emulated(str(entry), "", "")
    parts = entry.get("parts", ())
    return Emulated(
        str(entry.get("what", "an unnamed part")),
        str(entry.get("instead_of", "")),
        str(entry.get("note", "")),
        tuple(str(part) for part in parts) if isinstance(parts, list | tuple) else (),
    )
