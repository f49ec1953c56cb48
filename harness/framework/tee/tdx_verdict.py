"""What Intel's collateral says about one quote: its signer, its dates, the platform's status."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from cryptography import x509

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence.memo import Memo, hash_of
from harness.framework.tee import tdx_collateral, vendor_certificate
from harness.framework.tee.tdx_collateral import QeIdentity, Signed, Status, TcbInfo
from harness.framework.tee.tdx_format import Platform, Quote
from harness.framework.tee.vendor_certificate import ChainError, VendorCertificate


class Collateral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Intel's statements as its service gives them out.

    ``tcb_infos`` (one per kind of platform) and ``qe_identity`` are the JSON of the responses,
    byte for byte; ``signer`` is the certificate that signs them, ``crls`` are the lists of the root
    and of the PCK authorities (all DER).
    """

    tcb_infos: tuple[bytes, ...]
    qe_identity: bytes
    signer: bytes
    crls: tuple[bytes, ...]


class Statements(NamedTuple):
    """Collateral as read; nothing of it is checked."""

    infos: tuple[tuple[TcbInfo, Signed], ...]
    identity: tuple[QeIdentity, Signed]
    signer: VendorCertificate
    lists: list[x509.CertificateRevocationList]


class Verdict(msgspec.Struct, frozen=True):
    """Intel's status of the platform (None: it states none), and what is wrong with the statements.

    ``evaluation`` is the lower of the TCB evaluation data numbers; ``problems`` are failure ids
    with details.
    """

    status: Status | None
    evaluation: int
    problems: tuple[tuple[str, str], ...]


def read_collateral(collateral: Collateral, memo: Memo) -> Statements:
    """Read what a policy holds.

    Raises:
        PolicyError: a part can't be read.
    """
    parts = (*collateral.tcb_infos, collateral.qe_identity, collateral.signer, *collateral.crls)
    return memo(hash_of("tdx collateral", *parts), lambda: _read(collateral))


def judge(
    statements: Statements,
    quote: Quote,
    platform: Platform,
    root: VendorCertificate,
    now_s: float,
    memo: Memo,
) -> Verdict:
    """What the statements, if they go back to ``root``, say at ``now_s`` about a checked quote."""
    identity, signed_identity = statements.identity
    own = next(
        (pair for pair in statements.infos if tdx_collateral.is_about(pair[0], platform)), None
    )
    if own is None:
        detail = f"no TCB info for FMSPC {platform.fmspc.hex()}, PCE {platform.pce_id.hex()}"
        return Verdict(None, 0, (("tee.tdx.collateral.missing", detail),))
    info, signed_info = own
    problems = [
        *_signer_problems(statements, root, now_s, memo),
        *_statement_problems(info, signed_info, statements.signer, now_s, memo),
        *_statement_problems(identity, signed_identity, statements.signer, now_s, memo),
    ]
    for detail in tdx_collateral.qe_problems(identity, quote.qe_report):
        problems.append(("tee.tdx.qe.identity", detail))
    for detail in tdx_collateral.module_problems(info, quote.body):
        problems.append(("tee.tdx.module", detail))
    status = tdx_collateral.tcb_status(info, identity, platform, quote.body, quote.qe_report)
    evaluation = min(info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number)
    return Verdict(status, evaluation, tuple(problems))


def _read(collateral: Collateral) -> Statements:
    try:
        return Statements(
            infos=tuple(tdx_collateral.read_tcb_info(text) for text in collateral.tcb_infos),
            identity=tdx_collateral.read_qe_identity(collateral.qe_identity),
            signer=vendor_certificate.parse(collateral.signer),
            lists=[vendor_certificate.parse_list(der) for der in collateral.crls],
        )
    except ParseError as error:
        raise PolicyError(f"policy: tee_rules.tdx.collateral: {error}") from None


def _signer_problems(
    statements: Statements, root: VendorCertificate, now_s: float, memo: Memo
) -> Iterator[tuple[str, str]]:
    path = (statements.signer, root)
    try:
        key = hash_of("tdx signer", *(certificate.der for certificate in path))
        memo(key, lambda: vendor_certificate.check_signatures(path))
        vendor_certificate.check_dates(path, statements.lists, now_s, require_lists=True)
    except ChainError as error:
        yield "tee.tdx.collateral.signature", error.detail


def _statement_problems(
    statement: TcbInfo | QeIdentity,
    signed: Signed,
    signer: VendorCertificate,
    now_s: float,
    memo: Memo,
) -> Iterator[tuple[str, str]]:
    key = hash_of("tdx statement", signed.body, signed.signature, signer.der)
    if not memo(key, lambda: tdx_collateral.is_signed(signed, signer)):
        yield "tee.tdx.collateral.signature", f"{statement.id} is not signed by its signer"
    start, end = statement.issue_date.timestamp(), statement.next_update.timestamp()
    if not start <= now_s <= end:
        yield (
            "tee.tdx.collateral.stale",
            f"{statement.id} is for {start:.0f} to {end:.0f}, it is {now_s:.0f}",
        )
