"""What a measurement list held in the demonstration of two containers, from a trial's notes.

The note ``ima_demo`` is a JSON list in the order of the measurement list; ``ima_replay`` says per
PCR whether the verifier's replay gave the quoted value, ``ima_events`` what ran, in words. Notes
are data: what does not fit the format is left out, and a note that is no list counts as none.
"""

import json
from dataclasses import dataclass, field

from harness.report.data import Dataset

NOTE, REPLAY_NOTE, EVENTS_NOTE = "ima_demo", "ima_replay", "ima_events"
HOST = 0
OVERFLOW = 0xFFFFFFFF
_KINDS = ("file", "ns_create", "ns_aggregate", "violation", "boot_aggregate")
_MOST, _MOST_EVENTS = 200, 12


@dataclass(frozen=True)
class Entry:
    """One entry of the list: ``domain`` is 0 where it names none, ``digest`` its first 16 hex."""

    pcr: int
    kind: str
    path: str
    domain: int
    cid: str
    digest: str


@dataclass(frozen=True)
class Demonstration:
    """The list of one arm, what its replay gave by PCR, and what ran."""

    arm: str
    entries: tuple[Entry, ...]
    replay: dict[str, str] = field(default_factory=dict)
    events: tuple[str, ...] = ()

    @property
    def domains(self) -> list[int]:
        """The host and every domain, in order of their numbers."""
        return sorted({HOST, *(entry.domain for entry in self.entries)})

    def name(self, domain: int) -> str:
        """The container's own name, else its number."""
        if domain == OVERFLOW:
            return "overflow"
        named = (e.cid for e in self.entries if e.domain == domain and e.cid not in ("", "-"))
        return next(named, f"domain {domain}")


def demonstrations(data: Dataset) -> list[Demonstration]:
    """The first ok trial of each arm that has the note, baselines first."""
    found: dict[str, Demonstration] = {}
    for record in data.campaign.records:
        if record.status != "ok" or record.arm in found or record.arm in data.copies:
            continue
        entries = _entries(record.notes.get(NOTE, ""))
        if entries:
            replay = _object(record.notes.get(REPLAY_NOTE, ""))
            events = _texts(record.notes.get(EVENTS_NOTE, ""))
            found[record.arm] = Demonstration(record.arm, entries, replay, events)
    order = [*data.baselines, *(arm.name for arm in data.scenario.arms)]
    return [found[arm] for arm in dict.fromkeys(order) if arm in found]


def _entries(text: str) -> tuple[Entry, ...]:
    content = _json(text)
    items = content if isinstance(content, list) else []
    return tuple(entry for item in items[:_MOST] if (entry := _entry(item)) is not None)


def _entry(item: object) -> Entry | None:
    if not isinstance(item, dict) or item.get("kind") not in _KINDS:
        return None
    pcr, domain = item.get("pcr"), item.get("domain")
    if type(pcr) is not int or type(domain) is not int:
        return None
    path, cid, digest = (str(item.get(name, "")) for name in ("path", "cid", "digest"))
    return Entry(pcr, str(item["kind"]), path, domain, cid, digest)


def _object(text: str) -> dict[str, str]:
    content = _json(text)
    return {str(k): str(v) for k, v in content.items()} if isinstance(content, dict) else {}


def _texts(text: str) -> tuple[str, ...]:
    content = _json(text)
    items = content if isinstance(content, list) else []
    return tuple(str(item) for item in items[:_MOST_EVENTS])


def _json(text: str) -> object:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
