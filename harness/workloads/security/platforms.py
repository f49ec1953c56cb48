"""Whose evidence it is: relays, mixed hosts, taken names, missing parts (T23, T24, T27, T29)."""

import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from tpm2_pytss import TSS2_Exception

from harness.framework import wire
from harness.framework.deployment import Deployment, HostPlatform, TrustMaterial
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Evidence, TeeEvidence, decode_evidence
from harness.framework.tee.csv_device import GuestDevice
from harness.framework.verify import Policy
from harness.framework.vtpm import channel
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.client import connect
from harness.workloads.attestation import extend_logs
from harness.workloads.security.lab import Lab
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World
from harness.workloads.software_tpm import SoftwareTpmPod

_GET_RANDOM = bytes.fromhex("80010000000c0000017b0020")


@dataclass(frozen=True)
class _Greeting:
    """What the real vTPM service says to a new peer, and the stream on which it said so."""

    stream: socket.socket
    nonce: bytes
    hello: dict[str, Any]

    @property
    def report(self) -> TeeEvidence:
        return bundle.decode(self.hello["report"], TeeEvidence, wire.MAX_FRAME_BYTES)


def _greet(world: World) -> _Greeting:
    stream = world.add(connect(world.workdir / "d" / "service.sock"))
    nonce = os.urandom(32)
    return _Greeting(stream, nonce, wire.request(stream, {"op": "hello", "nonce": nonce}))


@attack("T23", "service-relayed-under-another-key", "deployment")
def service_relayed(world: World) -> Mounted:
    """A man in the middle shows the pod the service's genuine report beside a key of his own."""
    greeting, thief = _greet(world), ChannelIdentity.create("vtpm-service")

    def check(certificate: bytes) -> Attempted:
        return Attempted(
            "channel",
            lambda: channel.check_peer(
                certificate, greeting.report, greeting.nonce, world.processor.hrk,
                world.trust.measurements,
            ),
            len(greeting.report.report),
        )  # fmt: skip

    return Mounted(check(thief.certificate), check(greeting.hello["certificate"]))


def _opening(world: World, identity: ChannelIdentity, bound: ChannelIdentity, nonce: bytes) -> Any:
    """The request for a vTPM: ``identity`` asks with a report about ``bound`` and ``nonce``."""
    data = binding.channel_report_data(bound.spki, nonce)
    report = world.report(data, measurement=world.trust.pod_measurements[0])
    return {
        "op": "open", "instance": f"relay-{secrets.token_hex(4)}", "ak": "ecc256",
        "certificate": identity.certificate, "report": bundle.encode(report),
    }  # fmt: skip


def _open(world: World, *, stolen: bool = False, old: bool = False) -> Attempted:
    """Ask the service for a vTPM with a stolen report, or with one for an old nonce."""

    def act() -> None:
        greeting = _greet(world)
        me, victim = ChannelIdentity.create("pod"), ChannelIdentity.create("pod")
        nonce = os.urandom(32) if old else greeting.hello["nonce"]
        wire.request(greeting.stream, _opening(world, me, victim if stolen else me, nonce))

    return Attempted("channel", act)


@attack("T23", "pod-report-for-another-key", "deployment")
def pod_report_for_another_key(world: World) -> Mounted:
    """The host asks for a vTPM with a pod's report, but a key of its own."""
    return Mounted(_open(world, stolen=True), _open(world))


@attack("T23", "pod-report-replayed", "deployment")
def pod_report_replayed(world: World) -> Mounted:
    """A pod's report that was made for another nonce."""
    return Mounted(_open(world, old=True), _open(world))


@attack("T23", "vtpm-of-another-pod", "deployment")
def vtpm_of_another_pod(world: World) -> Mounted:
    """A pod attaches to another pod's vTPM: its own key isn't the one that was launched for."""
    name = world.pod.launched.claims.instance
    service = _greet(world).hello["certificate"]

    def steal() -> None:
        stream = connect(world.workdir / "d" / "service.sock")
        wire.send(stream, {"op": "attach", "instance": name})
        secured = channel.connect_tls(
            stream, ChannelIdentity.create("pod"), service, "vtpm-service"
        )
        # TLS 1.3: a client learns that it was refused with its first read, by an alert or, when its
        # own write came first, by the end of the connection.
        with secured:
            try:
                secured.sendall(_GET_RANDOM)
                answer = secured.recv(4096)
            except OSError as error:
                raise FrameworkError(f"the channel was closed: {error}") from error
            if not answer:
                raise FrameworkError("the channel was closed")

    return Mounted(
        Attempted("channel", steal), Attempted("channel", lambda: world.pod.ectx.get_random(8))
    )


@dataclass(frozen=True)
class _OtherHost:
    """Genuine evidence of a pod on a second host, and the trust that it rests on."""

    evidence: Evidence
    trust: TrustMaterial
    chip: str


@cache
def _other_host(world: World) -> _OtherHost:
    """A second host of the same authority, with a hardware TPM and a processor of its own."""
    platform = HostPlatform.provision(
        world.workdir / "other-host", "host-1", world.platform.directory / "authority"
    )
    boot, ima = world.logs
    with (
        Deployment(platform, world.workdir / "o") as deployment,
        deployment.open(world.pod.launched.claims.instance, "ecc256") as pod,
    ):
        extend_logs(pod.tcti, boot, ima)
        evidence = decode_evidence(pod.attest(world.nonce, boot.log, ima.binary))
        return _OtherHost(evidence, deployment.policy_trust(), platform.processor.serial)


def _fleet(world: World) -> Policy:
    """A policy for both hosts. Their vendors differ, and with them what the services measure."""
    mine, other = world.trust, _other_host(world).trust
    return world.policy(
        tee_roots=(
            msgspec.structs.replace(mine.tee_root, name="first"),
            msgspec.structs.replace(other.tee_root, name="second"),
        ),
        accepted_measurements=(*mine.measurements, *other.measurements),
    )


def _from_other(case: str, row: str, *fields: str) -> None:
    """Register evidence in which these fields are another host's; both hosts are trusted."""

    def mount(world: World) -> Mounted:
        other, policy = _other_host(world).evidence, _fleet(world)
        mixed = world.edited(**{name: getattr(other, name) for name in fields})
        return Mounted(world.presented(mixed, policy), world.presented(world.evidence, policy))

    attack(row, case, "deployment")(mount)


_from_other("launch-of-another-host", "T24", "launch", "launch_report")
_from_other("report-of-another-host", "T24", "launch_report")
_from_other("certificate-of-another-host", "T24", "ak_certificate", "issuer_chain")
_from_other("issuer-of-another-host", "T24", "issuer_chain")
_from_other("quote-of-another-host", "T23", "quote", "pcr_values")


@attack("T23", "answered-by-a-host-outside-the-fleet", "deployment")
def host_outside(world: World) -> Mounted:
    """The challenge is forwarded to a genuine host whose chip the policy doesn't know."""
    other, fleet = _other_host(world), _fleet(world)
    mine = {"host-0": (world.processor.serial,)}
    both = mine | {"host-1": (other.chip,)}
    return Mounted(
        world.presented(other.evidence, msgspec.structs.replace(fleet, platforms=mine)),
        world.presented(other.evidence, msgspec.structs.replace(fleet, platforms=both)),
    )


def _after_the_honest_pod(world: World, evidence: Evidence) -> Mounted:
    """Evidence for the next challenge of an instance that the honest pod answered before."""
    policy = _fleet(world)
    previous = world.accepted_state(world.presented(world.evidence, policy))
    challenge = world.challenge(previous=previous)
    return Mounted(
        world.presented(evidence, policy, challenge),
        world.presented(world.evidence, policy, challenge),
    )


@attack("T23", "answered-by-another-pod", "deployment")
def answered_by_another_pod(world: World) -> Mounted:
    """The challenge is forwarded to a genuine pod on the same host."""
    return _after_the_honest_pod(world, world.attested(world.pod_with()))


@attack("T27", "instance-taken-over", "deployment")
def instance_taken_over(world: World) -> Mounted:
    """A genuine vTPM on another host of the fleet, launched under the same name."""
    return _after_the_honest_pod(world, _other_host(world).evidence)


@attack("T24", "launched-with-another-hosts-tpm", "evidence")
def launched_with_another_tpm(world: World) -> Mounted:
    """A certificate by one host's TPM about a launch that names another one's."""
    lab = Lab(world)
    named = bundle.encode(binding.HostBinding("lab-host", b"\0\x0b" + bytes(32)))
    return lab.certified(lab.evidence(host={"private": ((binding.HOST_OID, named),)}))


@attack("T24", "chip-of-another-host", "deployment")
def chip_of_another_host(world: World) -> Mounted:
    """Chip and hardware TPM are both genuine, but of machines that the operator knows apart."""
    chip = world.processor.serial
    swapped = world.policy(platforms={"host-0": ("ANOTHER-CHIP",), "host-1": (chip,)})
    right = world.policy(platforms={"host-0": (chip,)})
    return Mounted(world.presented(world.evidence, swapped), world.presented(world.evidence, right))


@attack("T27", "instance-name-taken", "deployment")
def instance_name_taken(world: World) -> Mounted:
    """A second vTPM under the name of one that runs."""
    name = world.pod.launched.claims.instance

    def launch(instance: str) -> Attempted:
        return Attempted("launch", lambda: world.deployment.open(instance, "ecc256").close())

    return Mounted(launch(name), launch("name-that-is-free"))


@attack("T29", "no-secure-processor", "deployment")
def no_secure_processor(world: World) -> Mounted:
    """The guest's device is gone: there must be an error, and nothing that stands in for it."""

    def report(name: str) -> Attempted:
        path = world.workdir / "d" / name
        return Attempted("device", lambda: GuestDevice(path).report(bytes(64)))

    return Mounted(report("gone-csv.sock"), report("pod-csv.sock"))


@attack("T29", "no-vtpm", "deployment")
def no_vtpm(world: World) -> Mounted:
    """The TPM's process is gone when the pod is asked to attest."""
    boot, ima = world.logs
    gone, there = (SoftwareTpmPod(world.folder(f"t29-{n}"), "ecc256") for n in ("a", "b"))
    os.kill(gone.pid, signal.SIGKILL)

    def attest(pod: SoftwareTpmPod) -> Attempted:
        def act() -> None:
            try:
                pod.attest(world.nonce, boot.log, ima.binary)
            except TSS2_Exception as error:
                raise FrameworkError(str(error)) from error
            finally:
                pod.close()

        return Attempted("device", act)

    return Mounted(attest(gone), attest(there))


def _left_out(case: str, **missing: Any) -> Callable[[World], Mounted]:
    """Register evidence without a part, as an attester that has lost it might send."""

    def mount(world: World) -> Mounted:
        return world.edit(**missing)

    return attack("T29", case, "evidence")(mount)


_left_out("no-certificate", ak_certificate=None)
_left_out("no-issuer", issuer_chain=())
_left_out("no-launch-report", launch_report=None)
_left_out("no-launch-claims", launch=None)
