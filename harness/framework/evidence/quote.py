"""TPM quotes: TPMS_ATTEST with TPMS_QUOTE_INFO (TPM 2.0 Library Part 2, §10.12)."""

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.reader import Reader
from harness.framework.evidence.tpm_public import ALG_SHA256, HASHES

TPM_GENERATED = 0xFF544347
ST_ATTEST_QUOTE = 0x8018
_MAX_SELECTIONS = 16
_SELECT_BYTES = range(1, 5)
_HEADER = struct.Struct(">IH")
# TPMS_CLOCK_INFO, firmware version, number of selections.
_CLOCK_TO_COUNT = struct.Struct(">QIIBQI")
_SELECTION = struct.Struct(">HB")
_START = _HEADER.pack(TPM_GENERATED, ST_ATTEST_QUOTE)
_USUAL = struct.Struct(">6s36s34sQIIBQIHB3sH32s")
_USUAL_SIZES = (b"\0\x22", b"\0\x20", 1, 3, 32)


class PcrSelection(NamedTuple):
    """PCRs of one bank, in ascending order; ``bank`` is a hash algorithm id."""

    bank: int
    pcrs: tuple[int, ...]


class QuoteInfo(NamedTuple):
    """What a quote says. ``clock`` is in milliseconds; the counts tell of resets and resumes."""

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes


def attest_header(attest: bytes) -> tuple[int, int]:
    """Magic and type, which say whether a TPM made this and that it is a quote.

    Raises:
        ParseError: shorter than six bytes.
    """
    magic, kind = Reader(attest, "TPMS_ATTEST").unpack(_HEADER)
    return magic, kind


def parse_quote(attest: bytes) -> QuoteInfo:
    """Parse a TPMS_ATTEST of a quote.

    Raises:
        ParseError: wrong magic or type, truncated, trailing bytes, or a malformed selection.
    """
    usual = _parse_usual(attest)
    if usual is not None:
        return usual
    reader = Reader(attest, "TPMS_ATTEST")
    if reader.unpack(_HEADER) != (TPM_GENERATED, ST_ATTEST_QUOTE):
        raise ParseError("TPMS_ATTEST", f"starts with {attest[:6].hex()}, expected ff5443478018")
    qualified_signer, extra_data = reader.sized(), reader.sized()
    clock, resets, restarts, safe, firmware, count = reader.unpack(_CLOCK_TO_COUNT)
    if count > _MAX_SELECTIONS:
        raise ParseError("TPMS_ATTEST", f"{count} PCR selections, at most {_MAX_SELECTIONS}")
    selections = tuple(_selection(reader) for _ in range(count))
    digest = reader.sized()
    reader.end()
    if safe > 1:
        raise ParseError("TPMS_ATTEST", f"safe is {safe}, expected 0 or 1")
    return QuoteInfo(
        qualified_signer,
        extra_data,
        clock,
        resets,
        restarts,
        safe == 1,
        firmware,
        selections,
        digest,
    )


def pcr_digest(values: Iterable[bytes], hash_id: int) -> bytes:
    """The digest over PCR values in the order of the selection, with the signature's hash.

    Raises:
        ParseError: a hash that isn't supported.
    """
    if hash_id not in HASHES:
        raise ParseError("TPMT_SIGNATURE", f"hash {hash_id:#06x} is not supported")
    joined = b"".join(values)
    if hash_id == ALG_SHA256:
        return hashlib.sha256(joined).digest()
    return hashlib.new(HASHES[hash_id][0], joined).digest()


def _selection(reader: Reader) -> PcrSelection:
    bank, size = reader.unpack(_SELECTION)
    if size not in _SELECT_BYTES:
        raise ParseError("TPMS_ATTEST", f"PCR selection of {size} bytes, expected 1 to 4")
    bits = int.from_bytes(reader.take(size), "little")
    return _pcrs_selected(bank, bits)


def _parse_usual(attest: bytes) -> QuoteInfo | None:
    """A quote of one bank by a key with a SHA-256 name over a 32-byte nonce: all sizes are known.

    Reading field by field takes ten times as long. None: something is another way.
    """
    if len(attest) != _USUAL.size:
        return None
    (
        start, signer, extra, clock, resets, restarts, safe, firmware, count, bank, select_size,
        select, digest_size, digest,
    ) = _USUAL.unpack(attest)  # fmt: skip
    sizes = signer[:2], extra[:2], count, select_size, digest_size
    if start != _START or sizes != _USUAL_SIZES or safe > 1:
        return None
    selection = _pcrs_selected(bank, int.from_bytes(select, "little"))
    return QuoteInfo(
        signer[2:], extra[2:], clock, resets, restarts, safe == 1, firmware, (selection,), digest
    )


@lru_cache(maxsize=64)
def _pcrs_selected(bank: int, bits: int) -> PcrSelection:
    return PcrSelection(bank, tuple(pcr for pcr in range(32) if bits >> pcr & 1))
