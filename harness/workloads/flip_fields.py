"""Which field of the evidence each of its bytes belongs to, down to the structures inside.

Written from the formats' descriptions, not with the parsers whose answers it names.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness.workloads.flip_tees import CERTIFICATE_LAYOUTS, REPORT_LAYOUTS, Layout

_ECC, _NULL_ALGORITHM = 0x0023, 0x0010
_RSASSA, _RSAPSS = 0x0014, 0x0016
_DIGEST_SIZES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64}
_DIGEST_NAMES = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_SPEC_ID = b"Spec ID Event03\0"
_INDEX = re.compile(r"\[\d+\]")
_CBOR_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


class Span(NamedTuple):
    """Bytes ``start`` to ``end`` of the evidence, and the path of the field that they are."""

    start: int
    end: int
    field: str


def kind_of(field: str) -> str:
    """The field without the numbers of list entries: what a table of fields is grouped by."""
    return _INDEX.sub("[]", field)


def fields_of(evidence: bytes, ima_entries: int) -> list[Span]:
    """Spans in ascending order that cover all of ``evidence``, which must be well-formed.

    Entries of the IMA log after the first ``ima_entries``, the quoted ones, go by another name; a
    log that begins after a prefix counts from there.
    """
    items = dict(_items(evidence))
    if "ima_prefix.entries" in items:
        start, end = items["ima_prefix.entries"]
        ima_entries -= _argument(evidence, start, end)
    spans: list[Span] = []
    for path, (start, end) in items.items():
        value = evidence[start:end]
        inner = _inner(path, value, items, evidence, ima_entries)
        spans += [Span(start + at, start + stop, name) for at, stop, name in inner]
    spans.sort()
    return list(_with_envelope(spans, len(evidence)))


def _with_envelope(spans: list[Span], size: int) -> Iterator[Span]:
    """The spans, and between them the heads and keys of the CBOR map."""
    at = 0
    for span in spans:
        if span.start > at:
            yield Span(at, span.start, "envelope")
        if span.end > span.start:
            yield span
        at = span.end
    if at < size:
        yield Span(at, size, "envelope")


def _items(data: bytes) -> list[tuple[str, tuple[int, int]]]:
    """Path and place of each value of the canonical CBOR map ``data`` that holds no other."""
    found: list[tuple[str, tuple[int, int]]] = []

    def walk(at: int, path: str) -> int:
        start, major, info = at, data[at] >> 5, data[at] & 0x1F
        width = _CBOR_WIDTHS.get(info, 0)
        size = int.from_bytes(data[at + 1 : at + 1 + width]) if width else info
        at += 1 + width
        if major == 4:
            for index in range(size):
                at = walk(at, f"{path}[{index}]")
        elif major == 5:
            for _ in range(size):
                key, at = _key(data, at)
                at = walk(at, _join(path, key))
        else:
            end = at + size if major in (2, 3) else at
            found.append((path, (at if major in (2, 3) else start, end)))
            at = end
        return at

    walk(0, "")
    return found


def _argument(data: bytes, start: int, end: int) -> int:
    """The CBOR number at ``start`` to ``end``."""
    return int.from_bytes(data[start + 1 : end]) if end - start > 1 else data[start] & 0x1F


def _key(data: bytes, at: int) -> tuple[int | str, int]:
    """A map's key (short text or a small number), and the offset after it."""
    major, info = data[at] >> 5, data[at] & 0x1F
    if major == 0:
        return (info, at + 1) if info < 24 else (data[at + 1], at + 2)
    end = at + 1 + info
    return data[at + 1 : end].decode(), end


def _join(path: str, key: int | str) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _Marks:
    """Names one field after the other of a structure."""

    def __init__(self, data: bytes, path: str, order: str = ">") -> None:
        self.data, self.path, self.order, self.at = data, path, order, 0
        self.spans: list[Span] = []

    def take(self, name: str, size: int) -> bytes:
        start, self.at = self.at, min(self.at + size, len(self.data))
        self.spans.append(Span(start, self.at, f"{self.path}.{name}"))
        return self.data[start : self.at]

    def number(self, name: str, size: int) -> int:
        return int.from_bytes(self.take(name, size), "big" if self.order == ">" else "little")

    def sized(self, name: str, width: int = 2) -> bytes:
        return self.take(name, self.number(f"{name}.size", width))

    def rest(self, name: str) -> list[Span]:
        self.take(name, len(self.data))
        return self.spans


def _inner(
    path: str,
    value: bytes,
    items: dict[str, tuple[int, int]],
    evidence: bytes,
    ima_entries: int,
) -> list[Span]:
    """The fields inside the value at ``path``, by offsets in it."""
    readers: dict[str, Callable[[bytes, str], list[Span]]] = {
        "ak_public": _public_area, "quote.attest": _attest, "deep_quote.attest": _attest,
        "quote.signature": _signature, "deep_quote.signature": _signature,
        "boot_log": _boot_log, "ak_certificate": _certificate, "issuer_chain[]": _certificate,
    }  # fmt: skip
    if path == "ima_log":
        return _ima_log(value, ima_entries)
    if (reader := readers.get(kind_of(path))) is not None and len(value) > 1:
        return reader(value, path)
    parent, _, name = path.rpartition(".")
    tables = {"report": REPORT_LAYOUTS, "certificates": CERTIFICATE_LAYOUTS}
    if name in tables and f"{parent}.tee" in items:
        start, end = items[f"{parent}.tee"]
        layout = tables[name].get(evidence[start:end].decode())
        return _laid_out(value, path, layout(value) if layout else ())
    return [Span(0, len(value), path)]


def _laid_out(value: bytes, path: str, layout: Layout) -> list[Span]:
    marks = _Marks(value, path)
    for name, size in layout:
        marks.take(name, size)
    return marks.rest("rest")


def _public_area(value: bytes, path: str) -> list[Span]:
    """TPMT_PUBLIC of a signing key."""
    marks = _Marks(value, path)
    kind = marks.number("type", 2)
    marks.take("name_alg", 2)
    marks.take("attributes", 4)
    marks.sized("auth_policy")
    marks.take("symmetric", 2)
    if marks.number("scheme", 2) != _NULL_ALGORITHM:
        marks.take("scheme.hash", 2)
    if kind == _ECC:
        marks.take("curve", 2)
        marks.take("kdf", 2)
        marks.sized("x")
        marks.sized("y")
    else:
        marks.take("key_bits", 2)
        marks.take("exponent", 4)
        marks.sized("modulus")
    return marks.rest("rest")


def _attest(value: bytes, path: str) -> list[Span]:
    """TPMS_ATTEST of a quote."""
    marks = _Marks(value, path)
    marks.take("magic", 4)
    marks.take("type", 2)
    marks.sized("qualified_signer")
    marks.sized("extra_data")
    for name, size in (("clock", 8), ("resets", 4), ("restarts", 4), ("safe", 1), ("firmware", 8)):
        marks.take(name, size)
    for _ in range(marks.number("selections", 4)):
        marks.take("bank", 2)
        marks.sized("selected", 1)
    marks.sized("pcr_digest")
    return marks.rest("rest")


def _signature(value: bytes, path: str) -> list[Span]:
    """TPMT_SIGNATURE."""
    marks = _Marks(value, path)
    scheme = marks.number("scheme", 2)
    marks.take("hash", 2)
    for name in ("value",) if scheme in (_RSASSA, _RSAPSS) else ("r", "s"):
        marks.sized(name)
    return marks.rest("rest")


def _certificate(value: bytes, path: str) -> list[Span]:
    """X.509: the signed part, and the two fields after it that the signature doesn't cover."""
    marks = _Marks(value, path)
    marks.take("der", _der_head(value, 0))
    for name in ("signed", "algorithm"):
        head = _der_head(value, marks.at)
        size = int.from_bytes(value[marks.at + 2 : marks.at + head]) or value[marks.at + 1]
        marks.take(name, head + size)
    marks.take("signature.head", _der_head(value, marks.at))
    marks.take("signature.unused_bits", 1)
    return marks.rest("signature")


def _der_head(value: bytes, at: int) -> int:
    """Bytes of tag and length of the item at ``at``."""
    length = value[at + 1]
    return 2 + (length & 0x7F if length & 0x80 else 0)


def _boot_log(value: bytes, path: str) -> list[Span]:
    """TCG_PCR_EVENT, then TCG_PCR_EVENT2 if that one is the header of a crypto-agile log."""
    marks = _Marks(value, f"{path}.header", "<")
    agile = value[32 : 32 + len(_SPEC_ID)] == _SPEC_ID
    index = 0
    while marks.at < len(value):
        if index or not agile:
            marks.path = f"{path}[{index}]"
        for name in ("pcr", "type"):
            marks.take(name, 4)
        if index and agile:
            for _ in range(marks.number("digests", 4)):
                bank = marks.number("bank", 2)
                marks.take(_DIGEST_NAMES.get(bank, "digest"), _DIGEST_SIZES.get(bank, 32))
        else:
            marks.take("sha1", 20)
        marks.sized("data", 4)
        index += 1
    return marks.spans


def _ima_log(value: bytes, quoted: int) -> list[Span]:
    """The kernel's binary list; the old template "ima" has no size before its data."""
    marks = _Marks(value, "ima_log", "<")
    index = 0
    while marks.at < len(value):
        if index == quoted:
            marks.path = "ima_log"
            return marks.rest("after_quote")
        marks.path = f"ima_log[{index}]"
        marks.take("pcr", 4)
        marks.take("sha1", 20)
        if marks.sized("template", 4) == b"ima":
            marks.take("digest", 20)
            marks.sized("path", 4)
        else:
            marks.sized("data", 4)
        index += 1
    return marks.spans
