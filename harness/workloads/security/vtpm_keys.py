"""Attestation keys: of another TPM, outside of any TPM, of the wrong kind (rows T01, T03, T04)."""

from contextlib import closing
from typing import Any, NamedTuple

import msgspec
from tpm2_pytss import ESAPI, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT, TPMT_PUBLIC

from harness.framework import wire
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Evidence, LaunchClaims
from harness.framework.evidence.tpm_public import DECRYPT, FIXED_TPM, RESTRICTED
from harness.framework.tpm import keys
from harness.framework.tpm.keys import TpmKey
from harness.framework.vtpm.client import connect
from harness.workloads.attestation import extend_logs
from harness.workloads.security.lab import Lab
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World
from harness.workloads.software_keys import AK_ATTRIBUTES, new_key, public_area, signed_quote
from harness.workloads.software_tpm import SoftwareTpmPod


class _OwnTpm(NamedTuple):
    """A plain software TPM of the attacker's, with an endorsement key and an attestation key."""

    pod: SoftwareTpmPod
    ek: TpmKey

    @property
    def ectx(self) -> ESAPI:
        return self.pod.ectx


def _own_tpm(world: World, name: str) -> _OwnTpm:
    pod = SoftwareTpmPod(world.folder(name), "ecc256")
    world.add(closing(pod))
    return _OwnTpm(pod, keys.persistent_key(pod.ectx, keys.EK_HANDLE))


def _of_another_tpm(world: World, name: str) -> Evidence:
    """What a second software TPM quotes for the same challenge and the same logs."""
    other = _own_tpm(world, name)
    extend_logs(other.pod.tcti, *world.logs)
    boot, ima = world.logs
    return bundle.decode_evidence(other.pod.attest(world.nonce, boot.log, ima.binary))


@attack("T01", "quote-of-another-tpm", "deployment")
def quote_of_another_tpm(world: World) -> Mounted:
    """A second software TPM quotes with its own key, beside the pod's certificate and launch."""
    foreign = _of_another_tpm(world, "t01-a")
    return world.edit(
        ak_public=foreign.ak_public, quote=foreign.quote, pcr_values=foreign.pcr_values
    )


@attack("T01", "quote-under-a-borrowed-name", "deployment")
def quote_under_a_borrowed_name(world: World) -> Mounted:
    """The same, but it claims to have quoted with the pod's key."""
    foreign = _of_another_tpm(world, "t01-b")
    return world.edit(quote=foreign.quote, pcr_values=foreign.pcr_values)


@attack("T01", "vtpm-outside-the-service", "deployment")
def vtpm_outside_the_service(world: World) -> Mounted:
    """The host has a software TPM of its own certified, with a report of a pod, not the service."""
    own = _own_tpm(world, "t01-c")
    extend_logs(own.pod.tcti, *world.logs)
    issued = _ask_for_certificate(world, _Request(own.pod.ak.public, own.ek.public, own.ectx))
    boot, ima = world.logs
    sent = bundle.decode_evidence(own.pod.attest(world.nonce, boot.log, ima.binary))
    evidence = msgspec.structs.replace(
        sent,
        ak_certificate=issued["certificate"],
        issuer_chain=tuple(issued["chain"]),
        launch=issued["claims"],
        launch_report=issued["report"],
    )
    return world.against_clean(world.presented(evidence))


class _Request(NamedTuple):
    """Public areas that the host's agent is shown, and the TPM that answers its challenge.

    Without ``answers`` the secret is guessed.
    """

    ak_public: bytes
    ek_public: bytes
    answers: ESAPI | None
    ak_name: bytes = b""


def _ask_for_certificate(world: World, request: _Request) -> dict[str, Any]:
    """Go through issuance with the host's agent as the vTPM service does; pods have reports too."""
    name = request.ak_name or keys.name_of(request.ak_public)
    with connect(world.workdir / "d" / "agent.sock") as stream:
        begun = wire.request(
            stream,
            {
                "op": "begin", "instance": "thief", "ak_public": request.ak_public,
                "ak_name": name, "ek_public": request.ek_public,
            },
        )  # fmt: skip
        claims = LaunchClaims(
            instance="thief",
            ak_name=name,
            ek_name=keys.name_of(request.ek_public),
            channel_key_sha256=bytes(32),
            host_ak_name=begun["host_ak_name"],
            nonce=begun["nonce"],
        )
        pod = world.trust.pod_measurements[0]
        report = world.report(binding.launch_report_data(claims), measurement=pod)
        secret = _secret(request, begun)
        issued = wire.request(
            stream,
            {
                "op": "issue", "instance": "thief", "secret": secret,
                "claims": bundle.encode(claims), "report": bundle.encode(report),
            },
        )  # fmt: skip
    return {**issued, "claims": claims, "report": report}


def _secret(request: _Request, begun: dict[str, Any]) -> bytes:
    if request.answers is None:
        return bytes(32)
    ek, ak = (request.answers.tr_from_tpmpublic(at) for at in (keys.EK_HANDLE, keys.AK_HANDLE))
    return keys.activate_credential(
        request.answers, ek, ak, begun["credential"], begun["encrypted"]
    )


def _issuance(world: World, bad: _Request, good: _OwnTpm) -> Mounted:
    """A request that the agent must refuse, beside one of a key that is where it says."""
    honest = _Request(good.pod.ak.public, good.ek.public, good.ectx)
    return Mounted(
        Attempted("issuance", lambda: _ask_for_certificate(world, bad)),
        Attempted("issuance", lambda: _ask_for_certificate(world, honest)),
    )


@attack("T03", "key-in-software", "deployment")
def key_in_software(world: World) -> Mounted:
    """A software key claims the attributes of an attestation key beside a real endorsement key."""
    own = _own_tpm(world, "t03-a")
    return _issuance(world, _Request(public_area(new_key()), own.ek.public, None), own)


@attack("T03", "key-in-another-tpm", "deployment")
def key_in_another_tpm(world: World) -> Mounted:
    """An attestation key of one TPM with the endorsement key of another."""
    own, other = _own_tpm(world, "t03-b"), _own_tpm(world, "t03-c")
    return _issuance(world, _Request(own.pod.ak.public, other.ek.public, None), own)


@attack("T03", "name-of-another-key", "deployment")
def name_of_another_key(world: World) -> Mounted:
    """The public area of one key under the Name of another one."""
    own = _own_tpm(world, "t03-d")
    name = keys.name_of(public_area(new_key()))
    return _issuance(world, _Request(own.pod.ak.public, own.ek.public, None, name), own)


_ATTRIBUTES = {
    "unrestricted-key": AK_ATTRIBUTES & ~RESTRICTED,
    "movable-key": AK_ATTRIBUTES & ~FIXED_TPM,
    "key-that-also-decrypts": AK_ATTRIBUTES | DECRYPT,
}


def _wrong_attributes(case: str, attributes: int) -> None:
    """Register a key of the wrong kind twice: it asks for a certificate, and it has one."""

    def ask(world: World) -> Mounted:
        own = _own_tpm(world, f"t04-{case}")
        public = _made_in_tpm(own.ectx, attributes) or public_area(new_key(), attributes)
        return _issuance(world, _Request(public, own.ek.public, None), own)

    def has(world: World) -> Mounted:
        lab, key = Lab(world), new_key()
        evidence = lab.relaunched(public=public_area(key, attributes))
        quote = signed_quote(key, world.evidence.quote.attest)
        return lab.certified(msgspec.structs.replace(evidence, quote=quote))

    attack("T04", f"{case}-asks", "deployment")(ask)
    attack("T04", f"{case}-certified", "evidence")(has)


def _made_in_tpm(ectx: ESAPI, attributes: int) -> bytes | None:
    """A key with these attributes in the attacker's TPM; None where no TPM makes such a key."""
    if attributes & DECRYPT or not attributes & FIXED_TPM:
        return None
    template = TPMT_PUBLIC.parse("ecc256:ecdsa-sha256", objectAttributes=TPMA_OBJECT(attributes))
    parent = ectx.tr_from_tpmpublic(keys.SRK_HANDLE)
    _, public, *_ = ectx.create(parent, TPM2B_SENSITIVE_CREATE(), TPM2B_PUBLIC(publicArea=template))
    return bytes(public.publicArea.marshal())


for _case, _bits in _ATTRIBUTES.items():
    _wrong_attributes(_case, _bits)
