"""The replay as its description says it, without anything that makes it fast."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from harness.framework.evidence.ima_log import IMA_NS, ImaEntry, parse_entry
from harness.framework.evidence.ima_replay import MAX_REPORTED, ImaReplay, Judge, Problem

Files = Mapping[str, Iterable[bytes]]
Containers = dict[int, tuple[Files | None, list[bytes]]]

PCR = 10


def replay(
    log: bytes,
    quoted: tuple[bytes, ...],
    files: Files,
    templates: Iterable[str],
    judge: Judge,
    containers: tuple[int, bytes, Containers] | None = None,
) -> ImaReplay:
    """``containers``: their PCR, its first value, and for each its files and its aggregates."""
    values, at, count = [bytes(32), *(containers[1:2] if containers else ())], 0, 0
    problems: list[Problem] = []
    while at < len(log):
        entry, at = parse_entry(log, at)
        if not count or not _named(entry, files, templates, containers):
            problem = judge(count, entry)
            problems += [problem] if problem else []
        which = 0
        if containers:
            which = 1 if entry.pcr == containers[0] else 0 if entry.pcr == PCR else -1
        if which >= 0:
            values[which] = sha256(values[which] + entry.extended).digest()
        count += 1
        if tuple(values) == quoted:
            return ImaReplay(True, count, tuple(problems[:MAX_REPORTED]), at, len(problems))
    return ImaReplay(False, count, tuple(problems[:MAX_REPORTED]), at, len(problems))


def _named(
    entry: ImaEntry,
    files: Files,
    templates: Iterable[str],
    containers: tuple[int, bytes, Containers] | None,
) -> bool:
    # A digest of another size is for the judge.
    if entry.violation or entry.algorithm != "sha256" or len(entry.digest) != 32:
        return False
    if entry.pcr == PCR:
        plain = entry.template in templates and entry.template in ("ima-ng", "ima-sig")
        return plain and entry.digest in files.get(entry.path, ())
    if containers is None or entry.pcr != containers[0] or entry.template != IMA_NS:
        return False
    number = int.from_bytes(entry.extra[:8], "little")
    theirs, aggregates = containers[2].get(number, (None, []))
    if theirs is None or entry.digest not in theirs.get(entry.path, ()):
        return False
    add(aggregates, entry.extended)
    return True


def add(aggregates: list[bytes], extended: bytes) -> None:
    """One more entry of a container."""
    before = aggregates[-1] if aggregates else bytes(32)
    aggregates.append(sha256(before + extended).digest())
