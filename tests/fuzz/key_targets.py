"""Quotes, keys, certificates, TEE reports and signed results."""

import contextlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from harness.framework import tee
from harness.framework.errors import ParseError
from harness.framework.evidence import (
    bundle,
    quote,
    tpm_public,
)
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import forgetful
from harness.framework.service.client import VerifierError, accepted, read_ear
from harness.framework.tee import TeeVerificationError, csv_format, tdx_collateral
from harness.framework.verify import (
    certificate,
)

from . import seeds
from .mutators import cbor_mutator
from .target import Target

# Rules that let more of a kind's code be reached than the strict ones do.
_RULES: Mapping[str, Mapping[str, Any]] = {
    "tdx": {"require_collateral": False},
    "az-tdx-vtpm": {"hardware": {"require_collateral": False}},
}


def _quote(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        quote.attest_header(data)
        info = quote.parse_quote(data)
        assert all(pcr < 32 for selection in info.selections for pcr in selection.pcrs)


def _public(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        public = tpm_public.parse_public(data)
        sizes = {4: 20, 11: 32, 12: 48, 13: 64}
        assert len(public.name) == 2 + sizes[int.from_bytes(data[2:4])]


def _signature(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        made = tpm_public.parse_signature(data)
        for key in _keys():
            assert not tpm_public.verify_signature(key, b"never signed", made)


@cache
def _keys() -> tuple[tpm_public.PublicKey, ...]:
    areas = (seeds.public_area(), seeds.rsa_public_area())
    return tuple(tpm_public.parse_public(area).key for area in areas)


def _tdx_collateral(data: bytes) -> None:
    for read in (tdx_collateral.read_tcb_info, tdx_collateral.read_qe_identity):
        with contextlib.suppress(ParseError):
            read(data)


def _certificate(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        facts = certificate.parse_certificate(data)
        # No signature is taken for another certificate, nor for another encoding of one.
        assert not certificate.is_issued_by(facts, _issuer()) or data in _certificate_seeds()
        certificate.is_issued_by(facts, facts)


def _revocation_list(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        certificate.is_list_of(certificate.parse_revocation_list(data), _issuer())


@cache
def _issuer() -> certificate.CertificateFacts:
    return certificate.parse_certificate(seeds.certificate(ca=True))


def _ear(data: bytes) -> None:
    with contextlib.suppress(VerifierError):
        accepted(read_ear(data.decode("ascii", "replace"), seeds.result_key()))


def _csv(data: bytes) -> None:
    for parse in (
        csv_format.parse_report,
        csv_format.parse_certificate,
        csv_format.parse_ca_certificate,
    ):
        with contextlib.suppress(ParseError):
            parse(data)


def _tee_target(kind: str) -> Target:
    """A kind's verifier under each root that comes with it; the input is a TeeEvidence."""
    verifier = tee.verifiers()[kind]
    rules = msgspec.convert(_RULES.get(kind, {}), verifier.rules_type)

    def run(data: bytes) -> None:
        with contextlib.suppress(ParseError):
            given = bundle.decode(data, TeeEvidence, 1 << 18)
            for root in verifier.roots.values():
                verifier.is_root_of(given, root)
                with contextlib.suppress(TeeVerificationError):
                    report = verifier.verify(given, root, rules, seeds.NOW_S, forgetful)
                    list(verifier.check_rules(report, rules))

    def made() -> tuple[bytes, ...]:
        return tuple(bundle.encode(one) for one in seeds.tee_evidence() if one.tee == kind)

    return Target(run, made, 16384, cbor_mutator)


def _certificate_seeds() -> tuple[bytes, ...]:
    """Ours, and one of AMD's, which is signed with RSA-PSS."""
    vcek = next(one.certificates for one in seeds.tee_evidence() if one.tee == "snp")
    return seeds.certificate(), seeds.certificate(ca=True), vcek


def _collateral_seeds() -> tuple[bytes, ...]:
    folder = seeds.DATA / "tdx"
    return tuple((folder / f"{name}.json").read_bytes() for name in ("tcbInfo", "enclaveIdentity"))


def _csv_seeds() -> tuple[bytes, ...]:
    given = next(one for one in seeds.tee_evidence() if one.tee == "csv")
    return given.report, given.certificates[832:], given.certificates[:832]


KEY_TARGETS: Mapping[str, Target] = {
    "quote": Target(_quote, lambda: (seeds.attest(),), 1024),
    "public": Target(_public, lambda: (seeds.public_area(), seeds.rsa_public_area()), 1024),
    "signature": Target(_signature, lambda: (seeds.signature(b""), seeds.rsa_signature()), 1024),
    "certificate": Target(_certificate, _certificate_seeds, 2048),
    "revocation-list": Target(_revocation_list, lambda: (seeds.revocation_list(),), 2048),
    "ear": Target(_ear, seeds.results, 4096),
    "csv-format": Target(_csv, _csv_seeds, 4096),
    "tdx-collateral": Target(_tdx_collateral, _collateral_seeds, 16384),
    **{f"tee-{kind}": _tee_target(kind) for kind in tee.verifiers()},
}
