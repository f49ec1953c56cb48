"""The fields of TEE reports and their certificates, in order, for naming their bytes."""

from collections.abc import Callable, Mapping

# Name and size of each field; what follows the last one is the rest.
Layout = tuple[tuple[str, int], ...]

_CSV_BODY: Layout = (
    ("user_key_digest", 32), ("vm_id", 16), ("vm_version", 16), ("report_data", 64),
    ("mnonce", 16), ("measurement", 32), ("policy", 4),
    ("signature_usage", 4), ("signature_algorithm", 4),
)  # fmt: skip
_CSV_V1: Layout = (("anonce", 4), ("signature", 144))
_CSV_V2: Layout = (
    ("build", 4), ("rtmr_version", 2), ("reserved", 14), ("rtmrs", 160), ("reserved1", 656),
    ("signature", 144),
)  # fmt: skip
_CSV_SLOT: Layout = (("usage", 4), ("algorithm", 4), ("signature", 144), ("spare", 368))
_CSV_V2_PEK_USAGE = slice(1176, 1184)
_PEK_USAGE = bytes.fromhex("0210000004000000")


def _csv_certificate(name: str) -> Layout:
    """A 2,084-byte certificate: the signed part, and two slots for signatures."""
    slots = ((f"{name}.slot{slot}.{part}", size) for slot in (1, 2) for part, size in _CSV_SLOT)
    return ((f"{name}.signed", 1044), *slots)


def _csv_report(page: bytes) -> Layout:
    version = _CSV_V2 if page[_CSV_V2_PEK_USAGE] == _PEK_USAGE else _CSV_V1
    identity = (*_csv_certificate("pek"), ("serial", 64), ("reserved2", 32), ("mac", 32))
    return (*_CSV_BODY, *version, *identity)


def _csv_certificates(_certificates: bytes) -> Layout:
    """HSK (832 bytes), then CEK."""
    hsk: Layout = (("hsk.signed", 576), ("hsk.signature", 144), ("hsk.spare", 112))
    return (*hsk, *_csv_certificate("cek"))


REPORT_LAYOUTS: Mapping[str, Callable[[bytes], Layout]] = {"csv": _csv_report}
CERTIFICATE_LAYOUTS: Mapping[str, Callable[[bytes], Layout]] = {"csv": _csv_certificates}
