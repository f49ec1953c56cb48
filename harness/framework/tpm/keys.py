"""Key templates and the operations that attestation needs, the same code for every TPM.

Templates follow the TCG EK Credential Profile 2.5 and the TCG TPM 2.0 Keys for Device
Identity and Attestation 1.0: an attestation key is fixed to its TPM, generated inside it,
restricted and can only sign.
"""

from dataclasses import dataclass
from typing import Literal

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_OBJECT,
    TPML_PCR_SELECTION,
    TPMS_PCR_SELECTION,
    TPMT_PUBLIC,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
)
from tpm2_pytss.utils import make_credential as _make_credential

from harness.framework.evidence.tpm_public import parse_public

AkKind = Literal["rsa2048", "ecc256"]

EK_HANDLE = 0x81010001
SRK_HANDLE = 0x81000001
AK_HANDLE = 0x81010002
ISSUING_KEY_HANDLE = 0x81010003

# PolicySecret(TPM_RH_ENDORSEMENT), TCG EK Credential Profile B.6.
_EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_FIXED = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
_AK = _FIXED | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.SIGN_ENCRYPT
_ISSUING = _FIXED | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.SIGN_ENCRYPT
_STORAGE = _FIXED | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
_SIGNING_ALG = {"rsa2048": "rsa2048:rsassa-sha256:null", "ecc256": "ecc256:ecdsa-sha256:null"}
_OTHER_BANKS = (TPM2_ALG.SHA1, TPM2_ALG.SHA384, TPM2_ALG.SHA512)
NULL_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)


@dataclass(frozen=True)
class TpmKey:
    """A loaded key: its handle, TPMT_PUBLIC bytes and TPM Name (nameAlg || H(public area))."""

    handle: ESYS_TR
    public: bytes
    name: bytes


def loaded_key(ectx: ESAPI, handle: ESYS_TR) -> TpmKey:
    """Read the public area and Name of a loaded key from its TPM."""
    public, name, _ = ectx.read_public(handle)
    return TpmKey(handle, bytes(public.publicArea.marshal()), bytes(name))


def persistent_key(ectx: ESAPI, handle: int) -> TpmKey:
    """The key at a persistent handle. Raises ``TSS2_Exception`` when there is none."""
    return loaded_key(ectx, ectx.tr_from_tpmpublic(handle))


def _persist(ectx: ESAPI, handle: ESYS_TR, where: int) -> ESYS_TR:
    kept = ectx.evict_control(ESYS_TR.OWNER, handle, where)
    ectx.flush_context(handle)
    return kept


def create_endorsement_key(ectx: ESAPI) -> TpmKey:
    """Make a P-256 endorsement key and keep it at ``EK_HANDLE``."""
    template = TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC.parse(
            "ecc256:aes128cfb",
            objectAttributes=_STORAGE | TPMA_OBJECT.ADMINWITHPOLICY,
            authPolicy=_EK_POLICY,
        )
    )
    handle, *_ = ectx.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT)
    return loaded_key(ectx, _persist(ectx, handle, EK_HANDLE))


def create_storage_key(ectx: ESAPI) -> TpmKey:
    """Make a P-256 storage root key and keep it at ``SRK_HANDLE``."""
    template = TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC.parse(
            "ecc256:aes128cfb",
            objectAttributes=_STORAGE | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA,
        )
    )
    handle, *_ = ectx.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)
    return loaded_key(ectx, _persist(ectx, handle, SRK_HANDLE))


def create_signing_key(
    ectx: ESAPI, parent: ESYS_TR, kind: AkKind, where: int, *, restricted: bool = True
) -> TpmKey:
    """Make a signing key under ``parent`` and keep it at ``where``; restricted means an AK."""
    attributes = (_AK if restricted else _ISSUING) | TPMA_OBJECT.NODA
    template = TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC.parse(_SIGNING_ALG[kind], objectAttributes=attributes)
    )
    private, public, *_ = ectx.create(parent, TPM2B_SENSITIVE_CREATE(), template)
    handle = ectx.load(parent, private, public)
    return loaded_key(ectx, _persist(ectx, handle, where))


def allocate_sha256_bank(ectx: ESAPI) -> None:
    """Leave the SHA-256 bank alone from the next TPM2_Startup on.

    The kernel fills a bank whose hash it lacks with padded SHA-1, which nobody can replay.
    """
    selections = [TPMS_PCR_SELECTION(hash=bank, sizeofSelect=3) for bank in _OTHER_BANKS]
    selections.append(TPMS_PCR_SELECTION(hash=TPM2_ALG.SHA256, pcrs="all"))
    ectx.pcr_allocate(TPML_PCR_SELECTION(selections))


def make_credential(ek_public: bytes, name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """Wrap ``secret`` so that only the TPM with this EK and a key named ``name`` can read it.

    Returns the marshalled TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET (TPM 2.0 part 1, 24).
    """
    area, _ = TPMT_PUBLIC.unmarshal(ek_public)
    blob, encrypted = _make_credential(TPM2B_PUBLIC(publicArea=area), secret, name)
    return bytes(blob.marshal()), bytes(encrypted.marshal())


def activate_credential(
    ectx: ESAPI, ek: ESYS_TR, key: ESYS_TR, blob: bytes, encrypted: bytes
) -> bytes:
    """Recover the secret of ``make_credential``: proves that ``key`` lives beside this EK."""
    session = ectx.start_auth_session(
        ESYS_TR.NONE,
        ESYS_TR.NONE,
        TPM2_SE.POLICY,
        TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        TPM2_ALG.SHA256,
    )
    try:
        ectx.policy_secret(ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
        secret = ectx.activate_credential(
            key,
            ek,
            TPM2B_ID_OBJECT.unmarshal(blob)[0],
            TPM2B_ENCRYPTED_SECRET.unmarshal(encrypted)[0],
            session2=session,
        )
    finally:
        ectx.flush_context(session)
    return bytes(secret)


def pcr_selection(pcrs: tuple[int, ...]) -> TPML_PCR_SELECTION:
    """A selection in the SHA-256 bank."""
    return TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, pcrs)))


def read_pcrs(ectx: ESAPI, pcrs: tuple[int, ...]) -> dict[int, bytes]:
    """SHA-256 PCR values; a TPM gives at most eight of them per command."""
    values: dict[int, bytes] = {}
    for start in range(0, len(pcrs), 8):
        part = pcrs[start : start + 8]
        _, _, digests = ectx.pcr_read(pcr_selection(part))
        values.update(zip(part, (bytes(digest) for digest in digests), strict=True))
    return values


def quote(
    ectx: ESAPI, key: ESYS_TR, qualifier: bytes, pcrs: tuple[int, ...]
) -> tuple[bytes, bytes]:
    """TPM2_Quote: the TPMS_ATTEST bytes and the marshalled TPMT_SIGNATURE."""
    attest, signature = ectx.quote(key, pcr_selection(pcrs), qualifier, NULL_SCHEME)
    return bytes(attest), bytes(signature.marshal())


def name_of(public: bytes) -> bytes:
    """TPM Name of a TPMT_PUBLIC."""
    return parse_public(public).name


def area_is_attestation_key(public: bytes, name: bytes, *, restricted: bool = True) -> str:
    """Why ``public`` (TPMT_PUBLIC) is no key that may attest; empty when it is one.

    The Name commits to the attributes; a bare public key would not.
    """
    area, _ = TPMT_PUBLIC.unmarshal(public)
    attributes = int(area.objectAttributes)
    wanted = int(_AK if restricted else _ISSUING) & ~int(TPMA_OBJECT.USERWITHAUTH)
    if attributes & wanted != wanted:
        return f"attributes {attributes:#x} lack {wanted & ~attributes:#x}"
    if attributes & int(TPMA_OBJECT.DECRYPT):
        return "it can also decrypt"
    if name_of(public) != name:
        return "its Name does not match its public area"
    return ""
