"""The TPM operations that are timed, each ready to be repeated, the same on every TPM.

A TPM has three slots for transient objects: keys that are only used are persistent, and what an
operation leaves behind is flushed outside its time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_AUTH,
    TPM2B_DIGEST,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMA_OBJECT,
    TPML_DIGEST_VALUES,
    TPMS_NV_PUBLIC,
    TPMS_SENSITIVE_CREATE,
    TPMT_HA,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
    TPMT_TK_HASHCHECK,
    TPMU_HA,
)
from tpm2_pytss.constants import TPM2_RH, TPM2_ST

from harness.framework.tpm import keys
from harness.framework.tpm.keys import NULL_SCHEME, TpmKey

# Persistent handles and an NV index that the framework does not use itself.
_FIRST_HANDLE = 0x81010100
_NV_INDEX = 0x01800100
_NV_BYTES = 32
_PAYLOAD = bytes(range(32))
_QUOTED = {1: (10,), 8: tuple(range(8)), 24: tuple(range(24))}
_PCR_UNUSED_BY_LOGS = 16
_RSA_ROUNDS = 3

_SEALED = TPM2B_PUBLIC(
    publicArea=TPMT_PUBLIC.parse(
        "keyedhash",
        objectAttributes=TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.USERWITHAUTH,
    )
)
_STORAGE = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
_SIGNING = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.SIGN_ENCRYPT
)


class Operation(NamedTuple):
    """``call`` is what is timed; ``flush`` takes its result away, untimed.

    ``max_rounds``: for what takes so long that few rounds must do.
    """

    name: str
    call: Callable[[], Any]
    flush: Callable[[Any], None] | None = None
    max_rounds: int | None = None


class Workbench:
    """The keys and the NV index that the operations work on, made once per TPM."""

    def __init__(self, ectx: ESAPI) -> None:
        self.ectx = ectx
        handle, *_ = ectx.create_primary(TPM2B_SENSITIVE_CREATE(), _storage("ecc256"))
        self.storage = ectx.evict_control(ESYS_TR.OWNER, handle, _FIRST_HANDLE)
        ectx.flush_context(handle)
        self.aks: dict[str, TpmKey] = {
            "rsa2048": keys.create_signing_key(ectx, self.storage, "rsa2048", _FIRST_HANDLE + 1),
            "ecc256": keys.create_signing_key(ectx, self.storage, "ecc256", _FIRST_HANDLE + 2),
        }
        self.signer = keys.create_signing_key(
            ectx, self.storage, "ecc256", _FIRST_HANDLE + 3, restricted=False
        )
        self.index = ectx.nv_define_space(TPM2B_AUTH(), _nv_public())
        ectx.nv_write(self.index, _PAYLOAD)
        private, public, *_ = ectx.create(self.storage, _sealed_secret(), _SEALED)
        loaded = ectx.load(self.storage, private, public)
        self.sealed = ectx.evict_control(ESYS_TR.OWNER, loaded, _FIRST_HANDLE + 4)
        ectx.flush_context(loaded)

    def operations(self) -> list[Operation]:
        """All of them, in the order in which reports show them."""
        return [*self._plain(), *self._key_making(), *self._signing(), *self._storing()]

    def _plain(self) -> list[Operation]:
        ectx = self.ectx
        eight = keys.pcr_selection(_QUOTED[8])
        extended = TPML_DIGEST_VALUES(
            [TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=_PAYLOAD))]
        )
        return [
            Operation("GetRandom", lambda: ectx.get_random(32)),
            Operation("PCR_Read", lambda: ectx.pcr_read(eight)),
            Operation(
                "PCR_Extend", lambda: ectx.pcr_extend(ESYS_TR(_PCR_UNUSED_BY_LOGS), extended)
            ),
            Operation("Hash", lambda: ectx.hash(_PAYLOAD * 8, TPM2_ALG.SHA256, ESYS_TR.OWNER)),
            Operation("StartAuthSession", self._start_session, ectx.flush_context),
        ]

    def _start_session(self) -> ESYS_TR:
        return self.ectx.start_auth_session(
            ESYS_TR.NONE,
            ESYS_TR.NONE,
            TPM2_SE.HMAC,
            TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
            TPM2_ALG.SHA256,
        )

    def _key_making(self) -> list[Operation]:
        ectx, secret, signing = self.ectx, TPM2B_SENSITIVE_CREATE(), _signing("ecc256")
        private, public, *_ = ectx.create(self.storage, secret, signing)

        def primary(kind: str) -> Callable[[], Any]:
            template = _storage(kind)
            return lambda: ectx.create_primary(secret, template)[0]

        return [
            Operation("CreatePrimary.rsa2048", primary("rsa2048"), ectx.flush_context, _RSA_ROUNDS),
            Operation("CreatePrimary.ecc256", primary("ecc256"), ectx.flush_context),
            Operation(
                "Create.rsa2048",
                lambda: ectx.create(self.storage, secret, _signing("rsa2048")),
                max_rounds=_RSA_ROUNDS,
            ),
            Operation("Create.ecc256", lambda: ectx.create(self.storage, secret, signing)),
            Operation("Load", lambda: ectx.load(self.storage, private, public), ectx.flush_context),
        ]

    def _signing(self) -> list[Operation]:
        ectx, signer = self.ectx, self.signer.handle
        digest = TPM2B_DIGEST(_PAYLOAD)
        ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
        signature = ectx.sign(signer, digest, NULL_SCHEME, ticket)
        return [
            Operation("Sign", lambda: ectx.sign(signer, digest, NULL_SCHEME, ticket)),
            Operation("VerifySignature", lambda: ectx.verify_signature(signer, digest, signature)),
            Operation(
                "Certify",
                lambda: ectx.certify(signer, self.aks["ecc256"].handle, _PAYLOAD, NULL_SCHEME),
            ),
            *(self._quote(kind, count) for kind in self.aks for count in _QUOTED),
        ]

    def _quote(self, kind: str, count: int) -> Operation:
        ectx, handle, selection = (
            self.ectx,
            self.aks[kind].handle,
            keys.pcr_selection(_QUOTED[count]),
        )
        return Operation(
            f"Quote.{kind}.{count}pcr",
            lambda: ectx.quote(handle, selection, _PAYLOAD, NULL_SCHEME),
        )

    def _storing(self) -> list[Operation]:
        ectx, secret = self.ectx, _sealed_secret()
        return [
            Operation("NV_Write", lambda: ectx.nv_write(self.index, _PAYLOAD)),
            Operation("NV_Read", lambda: ectx.nv_read(self.index, _NV_BYTES)),
            Operation("Seal", lambda: ectx.create(self.storage, secret, _SEALED)),
            Operation("Unseal", lambda: ectx.unseal(self.sealed)),
        ]


# Making an RSA key searches for primes: how long that takes is chance, in every arm alike.
RANDOM_TIME = frozenset({"CreatePrimary.rsa2048", "Create.rsa2048"})

OPERATION_NAMES = (
    "GetRandom", "PCR_Read", "PCR_Extend", "Hash", "StartAuthSession",
    "CreatePrimary.rsa2048", "CreatePrimary.ecc256", "Create.rsa2048", "Create.ecc256", "Load",
    "Sign", "VerifySignature", "Certify",
    "Quote.rsa2048.1pcr", "Quote.rsa2048.8pcr", "Quote.rsa2048.24pcr",
    "Quote.ecc256.1pcr", "Quote.ecc256.8pcr", "Quote.ecc256.24pcr",
    "NV_Write", "NV_Read", "Seal", "Unseal",
)  # fmt: skip


def _storage(kind: str) -> TPM2B_PUBLIC:
    area = TPMT_PUBLIC.parse(f"{kind}:aes128cfb", objectAttributes=_STORAGE)
    return TPM2B_PUBLIC(publicArea=area)


def _signing(kind: str) -> TPM2B_PUBLIC:
    scheme = {"rsa2048": "rsassa-sha256", "ecc256": "ecdsa-sha256"}[kind]
    area = TPMT_PUBLIC.parse(f"{kind}:{scheme}:null", objectAttributes=_SIGNING)
    return TPM2B_PUBLIC(publicArea=area)


def _sealed_secret() -> TPM2B_SENSITIVE_CREATE:
    return TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=_PAYLOAD))


def _nv_public() -> TPM2B_NV_PUBLIC:
    return TPM2B_NV_PUBLIC(
        nvPublic=TPMS_NV_PUBLIC(
            nvIndex=_NV_INDEX,
            nameAlg=TPM2_ALG.SHA256,
            attributes=TPMA_NV.OWNERWRITE
            | TPMA_NV.OWNERREAD
            | TPMA_NV.AUTHWRITE
            | TPMA_NV.AUTHREAD
            | TPMA_NV.NO_DA,
            dataSize=_NV_BYTES,
        )
    )
