"""Time: replays, late answers, lists that grow or shrink (rows T00, T06, T07, T12 and T13)."""

import secrets

import msgspec

from harness.framework.verify import Previous
from harness.workloads.attestation import extend_logs
from harness.workloads.logs import BootLog, ImaLog
from harness.workloads.security.registry import Mounted, attack
from harness.workloads.security.world import World

_NOTHING = BootLog(b"", ())


@attack("T00", "clean-run", "deployment")
def clean_run(world: World) -> Mounted:
    """No attack: the verifier must accept, which is what all rejections rest on."""
    return world.against_clean(world.presented(world.evidence))


@attack("T06", "replayed-evidence", "deployment")
def replayed(world: World) -> Mounted:
    """Accepted evidence once more, for the next challenge."""
    challenge = world.challenge(nonce=secrets.token_bytes(32))
    return world.against_clean(world.presented(world.evidence, challenge=challenge))


@attack("T06", "replayed-quote-under-the-new-nonce", "evidence")
def relabelled(world: World) -> Mounted:
    """The same with the new nonce written beside the old quote."""
    nonce = secrets.token_bytes(32)
    evidence = world.edited(nonce=nonce)
    challenge = world.challenge(nonce=nonce)
    return world.against_clean(world.presented(evidence, challenge=challenge))


@attack("T07", "answer-after-the-deadline", "deployment")
def late(world: World) -> Mounted:
    """Good evidence a second after its challenge expired."""
    after = world.challenge().expires_s + 1
    return world.against_clean(world.presented(world.evidence, now_s=after))


@attack("T07", "challenge-from-the-future", "deployment")
def early(world: World) -> Mounted:
    """The verifier's clock was set back between challenge and answer."""
    before = world.challenge().issued_s - 1
    return world.against_clean(world.presented(world.evidence, now_s=before))


@attack("T12", "list-grew-during-the-quote", "deployment")
def race(world: World) -> Mounted:
    """No attack: the list is read after the quote and is longer, which must be accepted."""
    evidence = world.quoted(world.pod_with(), (world.logs[0].log, world.grown.binary))
    return world.against_clean(world.presented(evidence))


@attack("T12", "prefix-shorter-than-accepted", "deployment")
def short_prefix(world: World) -> Mounted:
    """The list matches, but at a prefix that is older than the one accepted last."""
    pod = world.pod_with()
    sent = world.presented(world.attested(pod))
    previous = world.accepted_state(sent)
    longer = msgspec.structs.replace(previous, ima_entries=previous.ima_entries + 1)
    again = world.attested(pod)
    return Mounted(
        world.presented(again, challenge=world.challenge(previous=longer)),
        world.presented(again, challenge=world.challenge(previous=previous)),
    )


@attack("T13", "older-quote-and-list", "deployment")
def rolled_back(world: World) -> Mounted:
    """After a longer list was accepted, the quote and the list from before are served again."""
    grown = world.grown
    pod = world.pod_with()
    old = world.attested(pod)
    extend_logs(pod.tcti, _NOTHING, _tail(grown, world.logs[1]))
    policy = world.policy_of((world.logs[0], grown))
    new = world.quoted(pod, (world.logs[0].log, grown.binary))
    accepted = world.accepted_state(world.presented(new, policy))
    next_one = world.challenge(previous=accepted)
    later = world.quoted(pod, (world.logs[0].log, grown.binary))
    return Mounted(world.presented(old, policy, next_one), world.presented(later, policy, next_one))


@attack("T13", "clock-behind", "evidence")
def clock_behind(world: World) -> Mounted:
    """The vTPM's clock is behind what was accepted before."""
    sent = world.presented(world.evidence)
    state = world.accepted_state(sent)
    ahead = Previous(state.reset_count, state.restart_count, state.clock + 1, state.ima_entries)
    return Mounted(
        sent._replace(challenge=world.challenge(previous=ahead)),
        sent._replace(challenge=world.challenge(previous=state)),
    )


def _tail(grown: ImaLog, before: ImaLog) -> ImaLog:
    """What ``grown`` extends after ``before``."""
    count = len(before.template_hashes_sha256)
    return ImaLog(b"", grown.template_hashes_sha256[count:], {})
