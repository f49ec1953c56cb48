"""Intel's signed statements about platforms: TCB info and the quoting enclave's identity.

Format and rules of Intel's provisioning certification service, version 4. Everything comes from
the policy, nothing from the network.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from harness.framework.errors import ParseError
from harness.framework.evidence import json_text
from harness.framework.tee.tdx_format import Platform, QeReport, TdReport
from harness.framework.tee.vendor_certificate import VendorCertificate

Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]
SIGNER = "Intel SGX TCB Signing"
_HEX = re.compile("[0-9A-Fa-f]*")
_Svn = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Date = Annotated[dt.datetime, msgspec.Meta(tz=True)]
# What a module or quoting enclave that is out of date makes of the platform's status.
_OUTDATED: dict[Status, Status] = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}


class _Component(msgspec.Struct, frozen=True):
    svn: _Svn


_Components = Annotated[tuple[_Component, ...], msgspec.Meta(min_length=16, max_length=16)]


class _PlatformTcb(msgspec.Struct, frozen=True):
    sgxtcbcomponents: _Components
    tdxtcbcomponents: _Components
    pcesvn: _Svn


class _IsvTcb(msgspec.Struct, frozen=True):
    isvsvn: _Svn


class _PlatformLevel(msgspec.Struct, frozen=True, rename="camel"):
    tcb: _PlatformTcb
    tcb_status: Status


class _IsvLevel(msgspec.Struct, frozen=True, rename="camel"):
    tcb: _IsvTcb
    tcb_status: Status


class _Module(msgspec.Struct, frozen=True, rename="camel"):
    mrsigner: str
    attributes: str
    attributes_mask: str


class _ModuleIdentity(_Module, frozen=True, rename="camel"):
    id: str
    tcb_levels: tuple[_IsvLevel, ...]


class TcbInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Intel's TCB info of one kind of platform (version 3 of the structure, for TDX)."""

    id: Literal["TDX"]
    version: Literal[3]
    issue_date: _Date
    next_update: _Date
    fmspc: str
    pce_id: str
    tcb_evaluation_data_number: int
    tdx_module: _Module
    tcb_levels: tuple[_PlatformLevel, ...]
    tdx_module_identities: tuple[_ModuleIdentity, ...] = ()


class QeIdentity(msgspec.Struct, frozen=True, rename="camel"):
    """Intel's identity of the quoting enclave of TDs."""

    id: Literal["TD_QE"]
    version: Literal[2]
    issue_date: _Date
    next_update: _Date
    tcb_evaluation_data_number: int
    miscselect: str
    miscselect_mask: str
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: int
    tcb_levels: tuple[_IsvLevel, ...]


class _SignedTcbInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    tcb_info: msgspec.Raw
    signature: str


class _SignedQeIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    enclave_identity: msgspec.Raw
    signature: str


class Signed(NamedTuple):
    """A statement as Intel serves it: the exact bytes that are signed, and a DER signature."""

    body: bytes
    signature: bytes


def read_tcb_info(text: bytes) -> tuple[TcbInfo, Signed]:
    """Read a TCB info response (JSON); its signature isn't checked. Raises ParseError."""
    outer = json_text.decode(text, _SignedTcbInfo, "TCB info")
    body = bytes(outer.tcb_info)
    return json_text.decode(body, TcbInfo, "TCB info"), Signed(body, _signature(outer.signature))


def read_qe_identity(text: bytes) -> tuple[QeIdentity, Signed]:
    """Read a quoting enclave identity response; its signature isn't checked. Raises ParseError."""
    outer = json_text.decode(text, _SignedQeIdentity, "QE identity")
    body = bytes(outer.enclave_identity)
    return json_text.decode(body, QeIdentity, "QE identity"), Signed(
        body, _signature(outer.signature)
    )


def is_signed(statement: Signed, signer: VendorCertificate) -> bool:
    """Whether ``signer``, a certificate for signing such statements, signed this one."""
    if signer.common_name != SIGNER or not isinstance(signer.key, ec.EllipticCurvePublicKey):
        return False
    try:
        signer.key.verify(statement.signature, statement.body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def is_about(info: TcbInfo, platform: Platform) -> bool:
    """Whether ``info`` is of the kind of ``platform``."""
    return (unhex(info.fmspc), unhex(info.pce_id)) == (platform.fmspc, platform.pce_id)


def tcb_status(
    info: TcbInfo, identity: QeIdentity, platform: Platform, td: TdReport, qe: QeReport
) -> Status | None:
    """The status of platform, TDX module and quoting enclave together; None when none is stated."""
    found = _platform_status(info, platform, td)
    parts = [_isv_status(identity.tcb_levels, qe.isv_svn)]
    # From TDX 1.5 on the module has levels of its own, by its major version.
    if td.tcb_svn[1]:
        module = module_of(info, td)
        levels = module.tcb_levels if isinstance(module, _ModuleIdentity) else ()
        parts.append(_isv_status(levels, td.tcb_svn[0]))
    for part in parts:
        if found is None or part is None:
            return None
        if part == "Revoked":
            found = "Revoked"
        elif part != "UpToDate":
            found = _OUTDATED.get(found, found)
    return found


def module_of(info: TcbInfo, td: TdReport) -> _Module | None:
    """What Intel says of the TD's module version, None for an unknown one."""
    major = td.tcb_svn[1]
    if not major:
        return info.tdx_module
    return next((one for one in info.tdx_module_identities if one.id == f"TDX_{major:02X}"), None)


def module_problems(info: TcbInfo, td: TdReport) -> Iterator[str]:
    """What of the TDX module isn't as Intel says."""
    module = module_of(info, td)
    if module is None:
        yield f"TDX module of version {td.tcb_svn[1]} isn't in the TCB info"
        return
    if td.mr_signer_seam != unhex(module.mrsigner):
        yield f"TDX module signed by {td.mr_signer_seam.hex()}, expected {module.mrsigner}"
    attributes = td.seam_attributes.to_bytes(8, "little")
    if not _matches(attributes, module.attributes_mask, module.attributes):
        yield f"TDX module's attributes {attributes.hex()}, expected {module.attributes}"


def qe_problems(identity: QeIdentity, qe: QeReport) -> Iterator[str]:
    """What of the quoting enclave isn't as Intel says."""
    if not _matches(qe.miscselect, identity.miscselect_mask, identity.miscselect):
        yield f"miscselect {qe.miscselect.hex()}, expected {identity.miscselect}"
    if not _matches(qe.attributes, identity.attributes_mask, identity.attributes):
        yield f"attributes {qe.attributes.hex()}, expected {identity.attributes}"
    if qe.mrsigner != unhex(identity.mrsigner):
        yield f"signed by {qe.mrsigner.hex()}, expected {identity.mrsigner}"
    if qe.isv_prod_id != identity.isvprodid:
        yield f"product {qe.isv_prod_id}, expected {identity.isvprodid}"


def unhex(text: str) -> bytes | None:
    """The bytes of hexadecimal digits and nothing else; None for other text."""
    return bytes.fromhex(text) if _HEX.fullmatch(text) and len(text) % 2 == 0 else None


def _signature(text: str) -> bytes:
    raw = unhex(text)
    if raw is None or len(raw) != 64:
        raise ParseError("collateral", "the signature isn't 64 bytes in hexadecimal")
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def _platform_status(info: TcbInfo, platform: Platform, td: TdReport) -> Status | None:
    """The first level that nothing of the platform is below (levels are in falling order)."""
    # The first two are the module's, which has its own levels from version 1 on.
    first = 2 if td.tcb_svn[1] else 0
    for level in info.tcb_levels:
        tcb = level.tcb
        if (
            _reaches(platform.svns, tcb.sgxtcbcomponents)
            and platform.pce_svn >= tcb.pcesvn
            and _reaches(td.tcb_svn[first:], tcb.tdxtcbcomponents[first:])
        ):
            return level.tcb_status
    return None


def _reaches(svns: Sequence[int], components: Sequence[_Component]) -> bool:
    return all(svn >= part.svn for svn, part in zip(svns, components, strict=True))


def _isv_status(levels: Sequence[_IsvLevel], svn: int) -> Status | None:
    return next((level.tcb_status for level in levels if svn >= level.tcb.isvsvn), None)


def _matches(value: bytes, mask: str, expected: str) -> bool:
    bits, wanted = unhex(mask), unhex(expected)
    if bits is None or len(bits) != len(value):
        return False
    return bytes(byte & bit for byte, bit in zip(value, bits, strict=True)) == wanted
