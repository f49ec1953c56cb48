"""TEE reports: of what was launched, by which chip, about what (rows T15 to T18, T26)."""

import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Evidence, TeeEvidence
from harness.framework.host.platform import service_components, service_trust
from harness.framework.tee.csv_launch import guest_launch_digest
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor, launch_digest
from harness.framework.verify import Policy
from harness.framework.vtpm import channel
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.trust import ServiceTrust
from harness.workloads.security.lab import Lab
from harness.workloads.security.quotes import flipped
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World

_GUEST: dict[str, Any] = {
    "firmware": b"OVMF",
    "kernel": b"vmlinuz",
    "initrd": b"initrd with the agent",
    "cmdline": "console=hvc0 ro",
}
_NODBG, _ES = 0x1, 0x4
# A CSV page of version 1: guest policy, signature, PEK, chip and the MAC over those.
_SIGNATURE_AT, _MAC_AT = 192, 2516


def _fresh_data(evidence: Evidence, nonce: bytes) -> bytes:
    logs = (sha256(log).digest() for log in (evidence.boot_log, evidence.ima_log))
    return binding.fresh_report_data(nonce, evidence.quote.attest, *logs)


def _reporting(world: World) -> Policy:
    """The policy that wants the pod's own report, of the guest above."""
    return world.policy(
        require_fresh_report=True, pod_measurements=(guest_launch_digest(**_GUEST),)
    )


def _reported(world: World, digest: bytes, **changes: Any) -> Evidence:
    """The honest evidence with a report of a guest that was launched with ``digest``."""
    data = changes.pop("data", None) or _fresh_data(world.evidence, world.nonce)
    return world.edited(fresh_report=world.report(data, measurement=digest, **changes))


def _fresh(world: World, evidence: Evidence) -> Mounted:
    good = _reported(world, guest_launch_digest(**_GUEST))
    policy = _reporting(world)
    return Mounted(world.presented(evidence, policy), world.presented(good, policy))


def _other_guest(row: str, case: str, **changed: Any) -> None:
    """Register a guest that differs in one part; the launch digest is computed as CSV does."""

    def mount(world: World) -> Mounted:
        return _fresh(world, _reported(world, guest_launch_digest(**(_GUEST | changed))))

    attack(row, case, "evidence")(mount)


_other_guest("T15", "other-firmware", firmware=b"OVMF with a back door")
_other_guest("T15", "other-kernel", kernel=b"vmlinuz without IMA")
_other_guest("T15", "other-initrd", initrd=b"initrd with another init")
_other_guest("T15", "other-command-line", cmdline="console=hvc0 ro ima=off")
_other_guest("T25", "agent-replaced-in-the-initrd", initrd=b"initrd with another agent")


@attack("T15", "service-changed", "deployment")
def service_changed(world: World) -> Mounted:
    """The host launches a vTPM service with one more file; a pod checks it before it talks."""
    components = service_components(service_trust(world.processor))
    changed = launch_digest({**components, "framework/extra.py": b"leak()"})
    return _channel(world, changed)


@attack("T26", "service-policy-changed", "deployment")
def service_policy_changed(world: World) -> Mounted:
    """The host gives the service a policy with a root of the host's own."""
    honest = bundle.decode(service_trust(world.processor), ServiceTrust, 1 << 16)
    forged = msgspec.structs.replace(honest, tee_root=SoftwareVendor().hrk)
    return _channel(world, launch_digest(service_components(bundle.encode(forged))))


def _channel(world: World, measurement: bytes) -> Mounted:
    """A pod's check of the service's report before it opens the channel."""
    identity, nonce = ChannelIdentity.create("vtpm-service"), secrets.token_bytes(32)
    data = binding.channel_report_data(identity.spki, nonce)
    honest = world.trust.measurements

    def check(measured: bytes) -> Attempted:
        report = world.report(data, measurement=measured)
        return Attempted(
            "channel",
            lambda: channel.check_peer(
                identity.certificate, report, nonce, world.processor.hrk, honest
            ),
            len(report.report),
        )

    return Mounted(check(measurement), check(honest[0]))


def _guest_policy(case: str, bits: int) -> None:
    """Register weak guest policies: of the vTPM service, and of the pod."""

    def service(world: World) -> Mounted:
        lab = Lab(world)
        return lab.certified(lab.relaunched(policy=bits))

    def pod(world: World) -> Mounted:
        return _fresh(world, _reported(world, guest_launch_digest(**_GUEST), policy=bits))

    attack("T16", f"service-{case}", "evidence")(service)
    attack("T16", f"pod-{case}", "evidence")(pod)


_guest_policy("may-be-debugged", _ES)
_guest_policy("state-not-encrypted", _NODBG)


def _page_edit(case: str, edit: Callable[[World, TeeEvidence], TeeEvidence]) -> None:
    """Register a changed launch report; it is checked before what it is bound to."""

    def mount(world: World) -> Mounted:
        report = world.evidence.launch_report
        assert report is not None
        return world.edit(launch_report=edit(world, report))

    attack("T17", case, "evidence")(mount)


def _bit(at: int) -> Callable[[World, TeeEvidence], TeeEvidence]:
    return lambda _world, report: msgspec.structs.replace(report, report=flipped(report.report, at))


_page_edit("report-signature-changed", _bit(_SIGNATURE_AT))
_page_edit("report-mac-changed", _bit(_MAC_AT))


def _other_chip(world: World, name: str) -> SoftwareProcessor:
    return SoftwareVendor().provision(world.folder(name))


@attack("T17", "platform-key-of-another-chip", "evidence")
def platform_key_of_another_chip(world: World) -> Mounted:
    """A report of one chip with the certificates of another one of the same vendor."""
    vendor = SoftwareVendor()
    one, two = (vendor.provision(world.folder(f"t17-{name}")) for name in ("a", "b"))
    lab = Lab(world)
    data = binding.launch_report_data(lab.claims)
    root = msgspec.structs.replace(world.trust.tee_root, root=one.hrk)
    good = world.report(data, processor=one)
    mixed = msgspec.structs.replace(good, certificates=two.hsk_cek)
    policy = lab.policy(tee_roots=(root,))
    return Mounted(
        world.presented(lab.evidence(launch_report=mixed), policy),
        world.presented(lab.evidence(launch_report=good), policy),
    )


@attack("T17", "certificates-of-another-vendor", "evidence")
def certificates_of_another_vendor(world: World) -> Mounted:
    """A chip of a vendor whose root the policy doesn't name."""
    chip = _other_chip(world, "t17-c")
    lab = Lab(world)
    report = world.report(binding.launch_report_data(lab.claims), processor=chip)
    return lab.certified(lab.evidence(launch_report=report))


@attack("T17", "root-with-a-borrowed-name", "evidence")
def root_with_a_borrowed_name(world: World) -> Mounted:
    """Another vendor's certificates that claim the key id of the policy's root."""
    chip = _other_chip(world, "t17-d")
    lab = Lab(world)
    report = world.report(binding.launch_report_data(lab.claims), processor=chip)
    named = bytearray(report.certificates)
    named[20:36] = world.processor.hrk[4:20]
    forged = msgspec.structs.replace(report, certificates=bytes(named))
    return lab.certified(lab.evidence(launch_report=forged))


@attack("T17", "emulated-processor", "deployment")
def emulated_processor(world: World) -> Mounted:
    """A software processor's report, under a policy that wants hardware."""
    policy = world.policy(accept_emulated=False)
    return world.against_clean(world.presented(world.evidence, policy))


@attack("T18", "launch-report-of-other-claims", "evidence")
def launch_report_of_other_claims(world: World) -> Mounted:
    """The report is genuine and certified, but about the launch of another key."""
    lab = Lab(world)
    other = msgspec.structs.replace(lab.claims, ak_name=b"\0\x0b" + bytes(32))
    report = world.report(binding.launch_report_data(other))
    return lab.certified(lab.evidence(launch_report=report))


@attack("T18", "later-report-of-the-same-claims", "evidence")
def later_report(world: World) -> Mounted:
    """A second report of the same claims, which no certificate names."""
    launch = world.evidence.launch
    assert launch is not None
    return world.edit(launch_report=world.report(binding.launch_report_data(launch)))


@attack("T18", "fresh-report-for-another-nonce", "evidence")
def fresh_for_another_nonce(world: World) -> Mounted:
    """The pod's report answers another challenge."""
    data = _fresh_data(world.evidence, secrets.token_bytes(32))
    return _fresh(world, _reported(world, guest_launch_digest(**_GUEST), data=data))


@attack("T18", "fresh-report-of-other-logs", "evidence")
def fresh_of_other_logs(world: World) -> Mounted:
    """The pod's report is about a shorter list than the one that is sent."""
    short = world.edited(ima_log=world.evidence.ima_log[:-1])
    data = _fresh_data(short, world.nonce)
    return _fresh(world, _reported(world, guest_launch_digest(**_GUEST), data=data))


@attack("T29", "no-fresh-report", "evidence")
def no_fresh_report(world: World) -> Mounted:
    """The guest has lost its secure processor and leaves the report out."""
    return _fresh(world, world.evidence)


@attack("T24", "fresh-report-of-another-chip", "evidence")
def fresh_of_another_chip(world: World) -> Mounted:
    """The pod's report comes from a chip of the same vendor in another machine."""
    vendor = SoftwareVendor()
    one, two = (vendor.provision(world.folder(f"t24-{name}")) for name in ("a", "b"))
    lab = Lab(world)
    launched = world.report(binding.launch_report_data(lab.claims), processor=one)
    root = msgspec.structs.replace(world.trust.tee_root, root=one.hrk)
    digest = guest_launch_digest(**_GUEST)
    policy = lab.policy(tee_roots=(root,), require_fresh_report=True, pod_measurements=(digest,))
    data = _fresh_data(world.evidence, world.nonce)

    def from_chip(chip: SoftwareProcessor) -> Evidence:
        fresh = world.report(data, measurement=digest, processor=chip)
        return lab.evidence(launch_report=launched, fresh_report=fresh)

    return Mounted(world.presented(from_chip(two), policy), world.presented(from_chip(one), policy))
