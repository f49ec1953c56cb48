"""The fields of TEE reports and their certificates, in order, for naming their bytes."""

import struct
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
_TD_REPORT = bytes.fromhex("04000000")


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


_SNP_REPORT: Layout = (
    ("version", 4), ("guest_svn", 4), ("policy", 8), ("family_id", 16), ("image_id", 16),
    ("vmpl", 4), ("signature_algorithm", 4), ("current_tcb", 8), ("platform_info", 8), ("flags", 4),
    ("reserved0", 4), ("report_data", 64), ("measurement", 48), ("host_data", 32),
    ("id_key_digest", 48), ("author_key_digest", 48), ("report_id", 32), ("report_id_ma", 32),
    ("reported_tcb", 8), ("cpuid", 24), ("chip_id", 64), ("tcb_and_reserved", 192),
    ("signature.r", 72), ("signature.s", 72), ("signature.spare", 368),
)  # fmt: skip


def _tdx_quote(quote: bytes) -> Layout:
    """Version 4, or version 5, which says type and size of the body."""
    (version,) = struct.unpack_from("<H", quote)
    body: Layout = (("body", 584),)
    if version >= 5:
        body = (("body.type", 2), ("body.size", 4), ("body", *struct.unpack_from("<I", quote, 50)))
    at = 48 + sum(size for _, size in body)
    (data_size,) = struct.unpack_from("<H", quote, at + 586)
    return (
        ("header", 48), *body, ("signature.size", 4), ("signature", 64), ("attestation_key", 64),
        ("certification.type", 2), ("certification.size", 4), ("qe_report", 384),
        ("qe_signature", 64), ("qe_data.size", 2), ("qe_data", data_size), ("pck.type", 2),
        ("pck.size", 4),
    )  # fmt: skip


def _paravisor_report(report: bytes) -> Layout:
    """Hardware report (for TDX a TDREPORT, whose MAC only its machine can check), then JSON."""
    (json_size,) = struct.unpack_from("<I", report, 1232)
    hardware: Layout = (("hardware", 1184),)
    if report[8 + 1216 : 12 + 1216] == _TD_REPORT:
        hardware = (
            ("hardware.head", 16), ("hardware.cpu_svn", 16), ("hardware.hashes", 192),
            ("hardware.mac", 32), ("hardware.rest", 928),
        )  # fmt: skip
    return (("header", 32), *hardware, ("runtime_header", 20), ("runtime", json_size))


REPORT_LAYOUTS: Mapping[str, Callable[[bytes], Layout]] = {
    "csv": _csv_report,
    "snp": lambda _report: _SNP_REPORT,
    "tdx": _tdx_quote,
    "az-snp-vtpm": _paravisor_report,
    "az-tdx-vtpm": _paravisor_report,
}
CERTIFICATE_LAYOUTS: Mapping[str, Callable[[bytes], Layout]] = {
    "csv": _csv_certificates,
    "az-tdx-vtpm": _tdx_quote,
}
