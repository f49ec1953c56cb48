"""The attester's side of the service: challenge, evidence, and a result that it can trust."""

import base64
import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from harness.framework.errors import FrameworkError
from harness.framework.evidence import json_text
from harness.framework.evidence.bundle import MAX_NONCE, MIN_NONCE, ImaPrefix

_TIMEOUT_S = 60.0
_MAX_ANSWER = 1024 * 1024


Attester = Callable[[bytes, ImaPrefix | None], bytes]


class _Given(NamedTuple):
    challenge_id: str
    nonce: bytes
    ima_prefix: ImaPrefix | None


class VerifierError(FrameworkError):
    """The service can't be reached, isn't the one that is trusted, or answers with a problem."""


class UntrustedResultError(VerifierError):
    """An answer that isn't the pinned key's, or about another challenge."""


class VerifierClient:
    """Talks to one service, over a new connection for each request."""

    def __init__(self, url: str, ca: Path, result_key: bytes) -> None:
        """``ca`` are the roots (PEM) for TLS, ``result_key`` the public key (PEM) of results.

        Raises:
            VerifierError: not an https URL, or a file that can't be used.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/"):
            raise VerifierError(f"{url}: expected https://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port or 443
        try:
            self._tls = ssl.create_default_context(cafile=str(ca))
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        except OSError as error:
            raise VerifierError(f"{ca}: {error.strerror or 'no certificates in PEM'}") from None
        self._key = _public_key(result_key)

    def attest(self, instance: str, evidence: Attester) -> dict[str, Any]:
        """The claims of the result for ``instance``.

        ``evidence`` answers a nonce in wire form; of the IMA log it may leave out the prefix that
        the verifier knows. A verifier that has forgotten it is sent the whole log.

        Raises:
            VerifierError: as the class says, or the result isn't signed by the pinned key or is
                about another nonce.
        """
        claims = self._attest(instance, evidence, whole=False)
        return self._attest(instance, evidence, whole=True) if _forgotten(claims) else claims

    def _attest(self, instance: str, evidence: Attester, *, whole: bool) -> dict[str, Any]:
        asked = json.dumps({"instance": instance}).encode()
        given = _challenge(self._post("/v1/challenges", "application/json", asked))
        path = f"/v1/challenges/{quote(given.challenge_id, safe='')}/evidence"
        made = evidence(given.nonce, None if whole else given.ima_prefix)
        answer = self._post(path, "application/cbor", made)
        claims = read_ear(answer.decode("ascii", "replace").strip(), self._key)
        if claims.get("eat_nonce") != json_text.base64url(given.nonce):
            raise UntrustedResultError("the result is about another nonce than this challenge's")
        return claims

    def _post(self, path: str, media_type: str, body: bytes) -> bytes:
        where = f"https://{self._host}:{self._port}{path}"
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=_TIMEOUT_S, context=self._tls
        )
        try:
            connection.request("POST", path, body, {"Content-Type": media_type})
            response = connection.getresponse()
            data = response.read(_MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise VerifierError(f"{where}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if response.status not in (200, 201):
            raise VerifierError(f"{where}: {response.status}: {_problem_detail(data)}")
        return data


def read_ear(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The claims of a JWT that ``key`` signed with ES256.

    Raises:
        VerifierError: another form, algorithm or key.
    """
    try:
        head, body, signature = token.split(".")
        raw = _decoded(signature)
        if json.loads(_decoded(head)).get("alg") != "ES256" or len(raw) != 64:
            raise ValueError("not signed with ES256")
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        key.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        claims = json.loads(_decoded(body))
    except InvalidSignature:
        raise UntrustedResultError("the result isn't signed by the pinned key") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise VerifierError(f"the result is no EAR: {error}") from None
    if not isinstance(claims, dict):
        raise VerifierError("the result is no EAR: its claims are no object")
    return claims


def accepted(claims: dict[str, Any]) -> bool:
    """Whether the result speaks for the attester: its status is neither missing nor against it."""
    try:
        status = claims["submods"]["vtpm"]["ear.status"]
    except (KeyError, TypeError):
        return False
    return status in ("affirming", "warning")


def _forgotten(claims: dict[str, Any]) -> bool:
    try:
        failures = claims["submods"]["vtpm"]["attestbench.failures"]
        return any(text.startswith("ima.log.start:") for text in failures)
    except (KeyError, TypeError, AttributeError):
        return False


def _challenge(data: bytes) -> _Given:
    try:
        challenge = json.loads(data)
        nonce, prefix = bytes.fromhex(challenge["nonce"]), challenge["ima_prefix"]
        if not MIN_NONCE <= len(nonce) <= MAX_NONCE or not isinstance(challenge["id"], str):
            raise ValueError
        known = prefix and ImaPrefix(int(prefix["entries"]), bytes.fromhex(prefix["pcr"]))
        return _Given(challenge["id"], nonce, known or None)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise VerifierError("the service gave no challenge of the expected form") from None


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise VerifierError("the result key isn't a public key in PEM") from None
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise VerifierError("the result key isn't a P-256 key")
    return key


def _problem_detail(data: bytes) -> str:
    try:
        problem = json.loads(data)
        return f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no problem details"


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
