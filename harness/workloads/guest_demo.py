"""The measurement list as the report's picture of two containers: who measured what, and where."""

import json
from collections.abc import Container, Mapping

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_domains, ima_log
from harness.framework.evidence.ima_domains import AGGREGATES, CREATION
from harness.framework.evidence.ima_log import BOOT_AGGREGATE, IMA_NS, ImaEntry

MAX_ITEMS = 200
_DIGITS = 16
_IMA_BUF = "ima-buf"
_RAN = "ran."
_MAX_EVENTS = 12
Item = dict[str, str | int]


def items_of(log: bytes) -> list[Item]:
    """One item per entry, in the list's order; a record of aggregates gives one per container.

    ``domain`` is 0 and ``cid`` "" for the host. Raises ParseError.
    """
    names: dict[int, str] = {}
    items: list[Item] = []
    at = 0
    while at < len(log) and len(items) < MAX_ITEMS:
        entry, at = ima_log.parse_entry(log, at)
        items += _items(entry, names)
    return items[:MAX_ITEMS]


def demo_notes(log: bytes, told: Mapping[str, str], failures: Container[str]) -> dict[str, str]:
    """The trial's notes for the picture; none where the list can't be read.

    ``told`` are the guest's own notes (who ran what), ``failures`` the verifier's.
    """
    try:
        items = items_of(log)
    except ParseError:
        return {}
    replay = "mismatch" if "ima.replay.mismatch" in failures else "match"
    pcrs = sorted({int(item["pcr"]) for item in items})
    events = [
        f"{who} runs {', '.join(what.split())}"
        for who, what in ((key.removeprefix(_RAN), told[key]) for key in told if _RAN in key)
    ]
    return {
        "ima_demo": _json(items),
        "ima_replay": _json({str(pcr): replay for pcr in pcrs}),
        "ima_events": _json(events[:_MAX_EVENTS]),
    }


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _items(entry: ImaEntry, names: dict[int, str]) -> list[Item]:
    if entry.template == _IMA_BUF and entry.path == CREATION:
        made = ima_domains.parse_creation(entry)
        names[made.domain] = made.name
        return [_item(entry, CREATION, "", made.domain, made.name, made.manager.hex())]
    if entry.template == _IMA_BUF and entry.path == AGGREGATES:
        return [
            _item(entry, AGGREGATES, "", domain, names.get(domain, ""), sealed.digest.hex())
            for domain, sealed in ima_domains.parse_aggregates(entry).items()
        ]
    domain = ima_domains.namespaces(entry).domain if entry.template == IMA_NS else 0
    kind = "boot_aggregate" if entry.path == BOOT_AGGREGATE else "file"
    if entry.violation:
        kind = "violation"
    return [_item(entry, kind, entry.path, domain, names.get(domain, ""), entry.digest.hex())]


def _item(entry: ImaEntry, kind: str, path: str, domain: int, cid: str, digest: str) -> Item:
    return {
        "pcr": entry.pcr,
        "kind": kind,
        "path": path,
        "domain": domain,
        "cid": cid,
        "digest": digest[:_DIGITS],
    }
