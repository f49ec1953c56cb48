"""What a verifier service remembers: challenges, instances, revocations (T05, T07, T23, T27)."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from harness.framework.deployment import FrameworkPod
from harness.framework.errors import FrameworkError
from harness.framework.service.appraisal import Appraiser, Issued
from harness.framework.service.policy_file import PolicyFile
from harness.framework.service.settings import Limits
from harness.framework.service.store import RevokedKind, Store
from harness.framework.verify import Policy, encode_policy
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World


class _Service:
    """The service without HTTP: its challenges and its state in a SQLite file."""

    def __init__(self, world: World, name: str, policy: Policy | None = None) -> None:
        folder = world.folder(f"service-{name}")
        file = folder / "policy.json"
        file.write_bytes(encode_policy(policy or world.policy()))
        self.world = world
        self.store = Store(f"sqlite:///{folder / 'state.sqlite'}")
        self.store.create()
        key = ec.generate_private_key(ec.SECP256R1())
        self._appraiser = Appraiser(PolicyFile(file), self.store, key, Limits())

    def challenge(self, pod: FrameworkPod) -> Issued:
        """A challenge for the pod's instance."""
        return self._appraiser.challenge(pod.launched.claims.instance)

    def answer(self, challenge: Issued, evidence: bytes) -> Attempted:
        """Show evidence for a challenge."""

        def act() -> None:
            result = self._appraiser.answer(challenge.challenge_id, evidence).result
            if not result.accepted:
                raise FrameworkError(", ".join(failure.id for failure in result.failures))

        return Attempted("service", act, len(evidence))

    def attested(self, pod: FrameworkPod, asked: FrameworkPod | None = None) -> Attempted:
        """``pod`` answers a challenge that was for ``asked`` (default: for itself)."""
        challenge = self.challenge(asked or pod)
        boot, ima = self.world.logs
        return self.answer(challenge, pod.attest(challenge.nonce, boot.log, ima.binary))


@attack("T07", "challenge-answered-twice", "deployment")
def answered_twice(world: World) -> Mounted:
    """The same evidence once more for the same challenge."""
    service = _Service(world, "t07")
    answer = service.attested(world.pod)
    return Mounted(answer, answer)


@attack("T07", "challenge-that-nobody-was-given", "deployment")
def made_up_challenge(world: World) -> Mounted:
    """An answer to a challenge whose id was guessed."""
    service = _Service(world, "t07-b")
    honest = service.attested(world.pod)
    guessed = service.challenge(world.pod)._replace(challenge_id="0" * 22)
    return Mounted(service.answer(guessed, b"evidence"), honest)


def _revoked(case: str, kind: RevokedKind, name: Callable[[FrameworkPod], bytes]) -> None:
    """Register a revocation by the verifier's operator between two attestations."""

    def mount(world: World) -> Mounted:
        service, pod = _Service(world, case), world.pod
        first, again = service.attested(pod), service.attested(pod)

        def act() -> None:
            service.store.revoke(name(pod), kind, world.now_s)
            again.act()

        return Mounted(Attempted("service", act, again.sent), first)

    attack("T05", case, "deployment")(mount)


_revoked("key-revoked-between-two-answers", "key", lambda pod: pod.ak.name)
_revoked("host-revoked-between-two-answers", "host", lambda pod: pod.launched.claims.host_ak_name)


@attack("T23", "first-answer-by-another-pod", "deployment")
def first_answer_by_another(world: World) -> Mounted:
    """A pod that never answered has a genuine one answer in its place."""
    fresh, honest = _Service(world, "t23"), _Service(world, "t23-twin")
    return Mounted(fresh.attested(world.pod_with(), asked=world.pod), honest.attested(world.pod))


@attack("T27", "key-of-another-instance", "deployment")
def key_of_another_instance(world: World) -> Mounted:
    """The service knows the instance by its key, and another pod answers for it."""
    service, other = _Service(world, "t27"), world.pod_with()
    return Mounted(service.attested(other, asked=world.pod), service.attested(world.pod))
