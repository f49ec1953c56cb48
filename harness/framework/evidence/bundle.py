"""The evidence envelope: one canonical, bounded, versioned format for every TEE (design §5)."""

from typing import Annotated, TypeVar

import msgspec

from harness.framework.errors import ParseError
from harness.framework.evidence import cbor

EVIDENCE_VERSION = 1
# With ``ima_prefix``, which version 1 doesn't have.
PARTIAL_VERSION = 2
# Left out where they are None, so that evidence without them is as it was before they existed.
_OPTIONAL = ("ima_prefix", "confirmation_key")
MAX_EVIDENCE_SIZE = 32 * 1024 * 1024
MIN_NONCE, MAX_NONCE = 16, 64

_T = TypeVar("_T", bound=msgspec.Struct)

# Field limits: several times what real hardware produces, far below what would hurt a verifier.
_Nonce = Annotated[bytes, msgspec.Meta(min_length=MIN_NONCE, max_length=MAX_NONCE)]
_Small = Annotated[bytes, msgspec.Meta(max_length=4096)]
_Certificate = Annotated[bytes, msgspec.Meta(max_length=16384)]
_TeeBlob = Annotated[bytes, msgspec.Meta(max_length=65536)]
_EventLog = Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024 * 1024)]
_BootLog = Annotated[bytes, msgspec.Meta(max_length=4 * 1024 * 1024)]
_ImaLog = Annotated[bytes, msgspec.Meta(max_length=27 * 1024 * 1024)]
_Name = Annotated[str, msgspec.Meta(max_length=128)]
_PcrIndex = Annotated[int, msgspec.Meta(ge=0, le=23)]
_PcrValue = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Chain = Annotated[tuple[_Certificate, ...], msgspec.Meta(max_length=8)]


class Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TPM quote: ``attest`` is a marshalled TPMS_ATTEST, ``signature`` a TPMT_SIGNATURE."""

    attest: _Small
    signature: _Small


class TeeEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A TEE report with the certificates below the vendor's root.

    What both hold is for the kind of TEE to say (docs/tees.md). For ``tee == "csv"``: the page of
    4,096 bytes as the processor returns it, and HSK followed by CEK (2,916 bytes). ``event_log``
    explains the report's run-time measurement registers (a CC event log, docs/logs.md); it is left
    out where there is none.
    """

    tee: _Name
    report: _TeeBlob
    certificates: _TeeBlob
    event_log: _EventLog = b""


class LaunchClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vTPM service binds in its TEE report when it launches an instance.

    The names are TPM Names: they commit to a key's attributes, which a public key does not.
    """

    instance: _Name
    ak_name: _Small
    ek_name: _Small
    channel_key_sha256: _PcrValue
    host_ak_name: _Small
    nonce: _Nonce


class ImaPrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The beginning of an IMA log: ``entries`` that lead PCR 10 (SHA-256 bank) to ``pcr``."""

    entries: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    pcr: _PcrValue


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a pod sends for one challenge.

    ``ak_public`` is a TPMT_PUBLIC; ``pcr_values`` are of the SHA-256 bank; ``ak_certificate`` and
    ``issuer_chain`` are DER, the leaf's issuer first, the root left out. ``version`` is
    :data:`EVIDENCE_VERSION`, or with ``ima_prefix`` :data:`PARTIAL_VERSION`: then ``ima_log`` is
    what follows that prefix. ``confirmation_key`` (SubjectPublicKeyInfo, DER) is one that the
    attester can prove to hold; the quote is bound to it (binding.quote_qualifier).
    """

    version: int
    nonce: _Nonce
    ak_public: _Small
    quote: Quote
    pcr_values: dict[_PcrIndex, _PcrValue]
    boot_log: _BootLog
    ima_log: _ImaLog
    ak_certificate: _Certificate | None = None
    issuer_chain: _Chain = ()
    launch: LaunchClaims | None = None
    launch_report: TeeEvidence | None = None
    fresh_report: TeeEvidence | None = None
    deep_quote: Quote | None = None
    ima_prefix: ImaPrefix | None = None
    confirmation_key: _Small | None = None


def encode(value: msgspec.Struct) -> bytes:
    """Deterministic CBOR of a struct as a map that holds every field; None is written as null.

    An empty ``event_log`` of :class:`TeeEvidence` is left out.
    """
    return cbor.encode(msgspec.to_builtins(value, builtin_types=(bytes,)))


def decode(data: bytes, kind: type[_T], max_size: int) -> _T:
    """Decode one canonical struct of type ``kind``.

    Raises:
        ParseError: not canonical CBOR, larger than ``max_size`` bytes, a field is missing, unknown,
            of the wrong type or beyond its limit.
    """
    names = set(kind.__struct_fields__)
    if kind.__struct_config__.omit_defaults:
        names = set(kind.__struct_fields__[: -len(kind.__struct_defaults__)])
    return _convert(cbor.decode(data, max_size), kind, names)


def _convert(fields: object, kind: type[_T], names: set[str]) -> _T:
    """A struct from decoded CBOR, which must have all fields of these ``names``."""
    try:
        # Without bytes as a type of their own, text would be taken for base64.
        value = msgspec.convert(fields, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ParseError(kind.__name__, str(error)) from None
    if isinstance(fields, dict) and (missing := sorted(names - set(fields))):
        raise ParseError(kind.__name__, f"fields {', '.join(missing)} are missing")
    return value


def encode_evidence(evidence: Evidence) -> bytes:
    """The wire form of ``evidence``."""
    fields = msgspec.to_builtins(evidence, builtin_types=(bytes,))
    for name in _OPTIONAL:
        if fields[name] is None:
            del fields[name]
    return cbor.encode(fields)


def decode_evidence(data: bytes) -> Evidence:
    """Decode the wire form.

    Raises:
        ParseError: as :func:`decode`, a version that isn't known or hasn't these fields, or an
            optional field that is null instead of left out.
    """
    fields = cbor.decode(data, MAX_EVIDENCE_SIZE)
    evidence = _convert(fields, Evidence, set(Evidence.__struct_fields__).difference(_OPTIONAL))
    for name in _OPTIONAL:
        if isinstance(fields, dict) and name in fields and fields[name] is None:
            raise ParseError("Evidence", f"{name} is null")
    expected = EVIDENCE_VERSION if evidence.ima_prefix is None else PARTIAL_VERSION
    if evidence.version != expected:
        raise ParseError("Evidence", f"version {evidence.version}, expected {expected}")
    return evidence
