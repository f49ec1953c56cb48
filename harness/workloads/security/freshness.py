"""Time: replays, late answers, lists that grow or shrink (rows T00, T06, T07, T12 and T13)."""

import secrets
from collections.abc import Callable

import msgspec

from harness.framework.evidence.bundle import PARTIAL_VERSION, ImaPrefix
from harness.framework.verify import Previous
from harness.workloads.attestation import extend_logs
from harness.workloads.logs import BootLog, ImaLog
from harness.workloads.security.registry import Mounted, Presented, attack
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


def _in_part(world: World, changed: Callable[[ImaPrefix], ImaPrefix], *, skip: int) -> Mounted:
    """Only what follows the accepted prefix is sent, from another prefix or without ``skip`` B."""
    pod, grown = world.pod_with(), world.grown
    policy = world.policy_of((world.logs[0], grown))
    state = world.accepted_state(world.presented(world.attested(pod), policy))
    if state.known is None:
        raise ValueError("the verifier remembers no prefix")
    known = ImaPrefix(state.known.end.entries, state.known.end.pcr)
    extend_logs(pod.tcti, _NOTHING, _tail(grown, world.logs[1]))
    rest = grown.binary[len(world.logs[1].binary) :]
    whole = world.quoted(pod, (world.logs[0].log, grown.binary))
    after = world.challenge(previous=state)

    def part(prefix: ImaPrefix, sent: bytes) -> Presented:
        evidence = msgspec.structs.replace(
            whole, version=PARTIAL_VERSION, ima_prefix=prefix, ima_log=sent
        )
        return world.presented(evidence, policy, after)

    return Mounted(part(changed(known), rest[skip:]), part(known, rest))


@attack("T13", "list-from-a-prefix-that-nobody-accepted", "evidence")
def unknown_prefix(world: World) -> Mounted:
    """The part of the list that is sent goes on from a beginning that was never accepted."""
    return _in_part(world, lambda known: ImaPrefix(known.entries, bytes(32)), skip=0)


@attack("T13", "list-from-a-shorter-prefix", "evidence")
def shorter_prefix(world: World) -> Mounted:
    """The same from one entry less, so that an accepted entry would be replaced."""
    return _in_part(world, lambda known: ImaPrefix(known.entries - 1, known.pcr), skip=0)


@attack("T13", "new-part-of-the-list-left-out", "evidence")
def left_out(world: World) -> Mounted:
    """The list is said to have nothing new, but the quote covers one more entry."""
    return _in_part(world, lambda known: known, skip=1 << 20)


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
