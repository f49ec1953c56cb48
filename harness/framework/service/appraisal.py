"""Challenges and answers: what the service does, without HTTP."""

import secrets
import time
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from harness.framework.errors import FrameworkError
from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.service.policy_file import PolicyFile
from harness.framework.service.settings import Limits
from harness.framework.service.store import OpenChallenge, Record, Standing, Store
from harness.framework.verify import (
    AttestationResult,
    Challenge,
    Failure,
    Policy,
    VerificationCache,
    verify,
)
from harness.framework.verify.ear import ear_claims, sign_ear
from harness.framework.verify.progress import refuse_revoked

_NONCE_BYTES = 32
_ID_BYTES = 16
_MAX_RACES = 4
_PURGE_S = 1.0


class UnknownChallengeError(FrameworkError):
    """Nobody was given this challenge, or it was answered before, or it is long past."""


class BusyError(FrameworkError):
    """Not now: too much is open, or the same instance is attested by others all the time."""


class Issued(NamedTuple):
    """A challenge as its attester gets it. ``expires_s`` is in seconds since 1970.

    What follows ``ima_prefix`` in the IMA log is enough; None asks for the whole log.
    """

    challenge_id: str
    nonce: bytes
    expires_s: float
    ima_prefix: ImaPrefix | None


class Answer(NamedTuple):
    """``ear``: the signed result. ``seconds``: how long verification took, without the store."""

    ear: str
    result: AttestationResult
    instance: str
    seconds: float


class Appraiser:
    """Issues challenges and judges evidence; the store and the policy are shared.

    ``challenge`` may run beside ``answer``; ``answer`` itself is for one thread.
    """

    def __init__(
        self, policy: PolicyFile, store: Store, key: ec.EllipticCurvePrivateKey, limits: Limits
    ) -> None:
        self._policy = policy
        self._store = store
        self._key = key
        self._limits = limits
        self._cache = VerificationCache()
        self._purged_s = 0.0
        self._open = 0

    def challenge(self, instance: str) -> Issued:
        """A nonce for ``instance`` that can be answered once.

        Raises:
            BusyError: too many challenges are open.
            PolicyError, StoreError: see :class:`PolicyFile` and :class:`Store`.
        """
        now = time.time()
        prefix = self._prefix(instance)
        if not 0 <= now - self._purged_s < _PURGE_S:
            self._open, self._purged_s = self._store.purge(now - self._limits.challenge_s), now
        if self._open >= self._limits.max_challenges:
            raise BusyError(f"{self._open} challenges are open")
        nonce, expires_s = secrets.token_bytes(_NONCE_BYTES), now + self._limits.challenge_s
        challenge_id = secrets.token_urlsafe(_ID_BYTES)
        self._store.open_challenge(challenge_id, OpenChallenge(nonce, instance, now, expires_s))
        self._open += 1
        return Issued(challenge_id, nonce, expires_s, prefix)

    def _prefix(self, instance: str) -> ImaPrefix | None:
        """What is known of the instance's list, if it was judged under the policy of today."""
        standing = self._store.standing(instance)
        known = standing.record.previous.known if standing and not standing.revoked else None
        if known is None or known.policy != self._policy.current().digest:
            return None
        return ImaPrefix(known.end.entries, known.end.pcr)

    def answer(self, challenge_id: str, evidence: bytes) -> Answer:
        """Judge ``evidence``; the challenge is used up, right or wrong.

        Raises:
            UnknownChallengeError: no such challenge is open.
            BusyError: the instance was attested by others each time we wanted to store.
            PolicyError, StoreError: see :class:`PolicyFile` and :class:`Store`.
        """
        policy = self._policy.current()
        taken = self._store.take_challenge(challenge_id)
        if taken is None:
            raise UnknownChallengeError("no such challenge is open: unknown, answered or expired")
        spent = 0.0
        for _ in range(_MAX_RACES):
            known = self._store.standing(taken.instance)
            now = time.time()
            begin = time.perf_counter()
            result = self._judge(evidence, policy, taken, known, now)
            spent += time.perf_counter() - begin
            settled = self._settle(result, taken.instance, known, now)
            if settled is not None:
                claims = ear_claims(settled, taken.nonce, now, policy.digest)
                return Answer(sign_ear(claims, self._key), settled, taken.instance, spent)
        raise BusyError(f"instance {taken.instance} is attested by others at the same time")

    def _judge(
        self,
        evidence: bytes,
        policy: Policy,
        taken: OpenChallenge,
        known: Standing | None,
        now_s: float,
    ) -> AttestationResult:
        # A revoked key has lost its instance: another may take it.
        previous = known.record.previous if known and not known.revoked else None
        challenge = Challenge(taken.nonce, taken.issued_s, taken.expires_s, previous)
        result = verify(evidence, policy, challenge, now_s, self._cache)
        named = policy.scheme == "chain" or result.instance
        if result.accepted and named and result.instance != taken.instance:
            detail = f"challenge for {taken.instance!r}, certificate for {result.instance!r}"
            return result.rejected(Failure("chain.ak.instance", detail))
        return result

    def _settle(
        self, result: AttestationResult, instance: str, known: Standing | None, now_s: float
    ) -> AttestationResult | None:
        """The final result, stored if it is accepted; None when another was stored meanwhile."""
        if result.state is None:
            return result
        revoked = self._store.revoked((result.state.ak_name, result.host_key))
        result = refuse_revoked(result, revoked, revoked)
        if result.state is None:
            return result
        record = Record(result.state, result.host, result.host_key)
        outcome = self._store.accept(instance, known.version if known else None, record, now_s)
        if outcome == "other-instance":
            detail = f"key {result.state.ak_name.hex()} belongs to another instance"
            return result.rejected(Failure("freshness.instance", detail))
        return result if outcome == "stored" else None
