"""The attestation result as an EAR: EAT attestation result with AR4SI trust claims, signed ES256.

Follows draft-ietf-rats-ear and draft-ietf-rats-ar4si.
"""

import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.framework.errors import FrameworkError
from harness.framework.evidence import confirmation, json_text
from harness.framework.verify.result import AttestationResult

PROFILE = "tag:github.com,2023:veraison/ear"
# AR4SI §2.3.2: 0 no claim, 2 affirming, 32 warning, 96 contraindicated.
_NONE, _AFFIRMING, _WARNING, _CONTRAINDICATED = 0, 2, 32, 96
_STATUS = {2: "affirming", 32: "warning", 96: "contraindicated"}

# Which trust claim a failure speaks against, by how its id begins; the longest beginning counts.
_CLAIM_OF = {
    "envelope": "instance-identity",
    "freshness": "instance-identity",
    "chain": "instance-identity",
    "tee": "hardware",
    "quote": "configuration",
    "quote.nonce": "instance-identity",
    "quote.confirmation": "instance-identity",
    "boot": "configuration",
    "ima": "executables",
}


def ear_claims(
    result: AttestationResult, nonce: bytes, now_s: float, policy_digest: str
) -> dict[str, object]:
    """The claims set. An accepted emulated TEE is a warning, never affirming hardware.

    A rejected result affirms nothing; nor does an accepted one what its policy doesn't judge.

    ``cnf`` is the key of whoever was attested: demand proof of it from whoever presents the result.
    """
    vector = dict.fromkeys(_CLAIM_OF.values(), _NONE)
    if result.accepted:
        vector |= dict.fromkeys(("instance-identity", "executables"), _AFFIRMING)
        vector["configuration"] = _AFFIRMING if result.boot_judged else _NONE
        vector["hardware"] = {"real": _AFFIRMING, "emulated": _WARNING, "none": _NONE}[
            result.trust_kind
        ]
    for failure in result.failures:
        vector[_claim_of(failure.id)] = _CONTRAINDICATED
    status = max(vector.values()) if result.accepted else _CONTRAINDICATED
    submodule = {
        "ear.status": _STATUS[status],
        "ear.trustworthiness-vector": vector,
        "ear.appraisal-policy-id": f"sha256:{policy_digest}",
        "attestbench.trust-kind": result.trust_kind,
        "attestbench.instance": result.instance,
        "attestbench.host": result.host,
        "attestbench.measurement": result.measurement.hex(),
        "attestbench.ima-entries": result.ima_entries,
        "attestbench.containers": [container.name for container in result.containers],
        "attestbench.failures": [f"{failure.id}: {failure.detail}" for failure in result.failures],
    }
    claims = {
        "eat_profile": PROFILE,
        "iat": int(now_s),
        "eat_nonce": json_text.base64url(nonce),
        "ear.verifier-id": {"developer": "attestbench", "build": "attestbench"},
        "submods": {"vtpm": submodule},
    }
    if result.accepted and result.confirmation_key:
        claims["cnf"] = confirmation.confirmation_claim(result.confirmation_key)
    return claims


def _claim_of(failure_id: str) -> str:
    first, second, *_ = failure_id.split(".")
    return _CLAIM_OF.get(f"{first}.{second}") or _CLAIM_OF[first]


def sign_ear(claims: dict[str, object], key: ec.EllipticCurvePrivateKey) -> str:
    """The claims as a JWT (JWS compact, ES256).

    Raises:
        FrameworkError: the key isn't on P-256.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise FrameworkError(f"ES256 needs a P-256 key, this one is on {key.curve.name}")
    parts = ({"alg": "ES256", "typ": "JWT"}, claims)
    signed = ".".join(json_text.base64url(_json(part)) for part in parts)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{json_text.base64url(r.to_bytes(32) + s.to_bytes(32))}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
