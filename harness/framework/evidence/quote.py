"""TPM quotes: TPMS_ATTEST with TPMS_QUOTE_INFO (TPM 2.0 Library Part 2, §10.12)."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.reader import Reader
from harness.framework.evidence.tpm_public import HASHES

TPM_GENERATED = 0xFF544347
ST_ATTEST_QUOTE = 0x8018
_MAX_SELECTIONS = 16
_SELECT_BYTES = range(1, 5)


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
    reader = Reader(attest, "TPMS_ATTEST")
    return reader.u32(), reader.u16()


def parse_quote(attest: bytes) -> QuoteInfo:
    """Parse a TPMS_ATTEST of a quote.

    Raises:
        ParseError: wrong magic or type, truncated, trailing bytes, or a malformed selection.
    """
    if attest_header(attest) != (TPM_GENERATED, ST_ATTEST_QUOTE):
        raise ParseError("TPMS_ATTEST", f"starts with {attest[:6].hex()}, expected ff5443478018")
    reader = Reader(attest, "TPMS_ATTEST")
    reader.take(6)
    qualified_signer, extra_data = reader.sized(), reader.sized()
    clock, resets, restarts = reader.u64(), reader.u32(), reader.u32()
    safe, firmware = reader.u8(), reader.u64()
    count = reader.u32()
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
    return hashlib.new(HASHES[hash_id][0], b"".join(values)).digest()


def _selection(reader: Reader) -> PcrSelection:
    bank, size = reader.u16(), reader.u8()
    if size not in _SELECT_BYTES:
        raise ParseError("TPMS_ATTEST", f"PCR selection of {size} bytes, expected 1 to 4")
    bits = int.from_bytes(reader.take(size), "little")
    return PcrSelection(bank, tuple(pcr for pcr in range(8 * size) if bits >> pcr & 1))
