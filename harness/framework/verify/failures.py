"""Every failure that verification can report, with what it means (design §5).

An id is ``part.what``; the part says where the evidence is wrong. Reports, tests and policies of
others rely on these names: add, never rename.
"""

from collections.abc import Iterable

import msgspec

from harness.framework import tee

FAILURES: dict[str, str] = {
    "envelope.format": "the evidence isn't canonical, bounded CBOR of the expected form",
    "freshness.nonce": "the evidence answers another challenge",
    "freshness.expired": "the challenge's deadline has passed",
    "freshness.future": "the challenge was issued after the time of verification",
    "freshness.rollback": "the TPM's clock or counters are behind the last accepted evidence",
    "freshness.reset": "the TPM was reset since the last accepted evidence, which may not happen",
    "freshness.restart": "the TPM was reset, but what it measures went on: only it was restarted",
    "freshness.clone": "the key goes on in two places: its list or clock isn't the last accepted's",
    "freshness.instance": "the instance belongs to another key that isn't revoked",
    "chain.ak.missing": "no certificate for the attestation key",
    "chain.ak.format": "the attestation key's certificate can't be read",
    "chain.ak.key": "the certificate is for another key than the evidence's",
    "chain.ak.usage": "the leaf is no attestation key certificate (usage, EKU or CA bit)",
    "chain.ak.instance": "the certificate names no instance, several, or another one",
    "chain.ak.launch": "the certificate isn't bound to the launch claims and report given",
    "chain.ak.attributes": "the key isn't fixed to its TPM, restricted and for signing only",
    "chain.ak.public": "the key's public area can't be read",
    "chain.ak.unknown": "the key isn't on the allow-list",
    "chain.host": "the issuer's certificate doesn't name its host and key",
    "chain.host.key": "the issuer isn't the host key that the launch claims name",
    "chain.host.chip": "the launch report's chip isn't one that the policy knows in that host",
    "chain.issuer.missing": "no issuer certificate between the key and the root",
    "chain.issuer.format": "an issuer certificate can't be read",
    "chain.issuer.usage": "an issuer may not issue certificates (CA bit or key usage)",
    "chain.issuer.length": "the chain is longer than an issuer's path length allows",
    "chain.root": "the chain ends at no root that the policy names",
    "chain.signature": "a certificate isn't signed by its issuer",
    "chain.algorithm": "a certificate is signed with an algorithm that is too weak",
    "chain.validity": "a certificate isn't valid at the time of verification",
    "chain.extension": "a certificate has a critical extension that isn't understood",
    "chain.revoked": "a certificate of the chain is revoked",
    "chain.ak.revoked": "the attestation key is on the verifier's own revocation list",
    "chain.host.revoked": "the host's TPM is on the verifier's own revocation list",
    "chain.revocation.missing": "there is no revocation list of an issuer that must have one",
    "chain.revocation.stale": "a revocation list is past its next update",
    "chain.revocation.signature": "a revocation list isn't signed by its issuer",
    "chain.launch.missing": "the launch claims or the TEE report behind them are missing",
    "chain.paravisor.form": "beside the paravisor's report there are certificates or launch claims",
    "chain.paravisor.key": "the paravisor's report vouches for another key, or for none",
    "chain.launch.ak_name": "the launch claims are for another key",
    "tee.kind": "a TEE of a kind that can't be verified",
    "tee.root": "the report's root isn't one that the policy names",
    "tee.root.emulated": "the report comes from an emulated processor, which the policy refuses",
    "tee.report.signature": "the report isn't signed by the platform",
    "tee.report.binding": "the launch report's data aren't those of the launch claims",
    "tee.measurement": "the launch measurement isn't one that the policy accepts",
    "tee.policy": "the guest policy lacks a required bit or has a forbidden one",
    "tee.events.missing": "the policy requires a CC event log, and the report comes without one",
    "tee.fresh.missing": "the policy or a relayed vTPM requires a TEE report for this attestation",
    "tee.fresh.binding": "the fresh report's data aren't those of this attestation",
    "tee.fresh.identity": "the fresh report is of another chip or vTPM than the launch",
    "tee.fresh.measurement": "the fresh report is of a guest that the policy doesn't accept",
    "quote.format": "the quote or its signature can't be read",
    "quote.magic": "the quoted structure wasn't made by a TPM",
    "quote.type": "the attestation structure isn't a quote",
    "quote.signature": "the quote isn't signed by the attestation key",
    "quote.nonce": "the quote isn't over this challenge's nonce",
    "quote.pcr.bank": "the quote isn't of the SHA-256 bank alone",
    "quote.pcr.selection": "the quote leaves out a PCR that the policy requires",
    "quote.pcr.values": "the PCR values given aren't those that were quoted",
    "quote.pcr.zero": "a PCR that must be extended was never extended",
    "quote.confirmation.missing": "the policy requires a confirmation key, and none is named",
    "quote.confirmation.format": "the confirmation key isn't a P-256 key in canonical form",
    "quote.deep.missing": "the policy requires a quote of the host's TPM",
    "quote.deep.format": "the host's quote can't be read or is no quote",
    "quote.deep.signature": "the host's quote isn't signed by the key that issued the AK",
    "quote.deep.nonce": "the host's quote isn't bound to this quote",
    "boot.log.missing": "no boot event log",
    "boot.log.format": "the boot event log can't be read",
    "boot.replay.mismatch": "an event log doesn't lead to the quoted PCRs or reported registers",
    "boot.event.unknown": "an event isn't among the policy's reference values",
    "boot.event.data": "an event's digest isn't of its data, where firmware hashes the data",
    "boot.event.digest": "an event that the policy describes has another digest",
    "boot.event.value": "a UEFI variable has another value than the policy's",
    "boot.event.missing": "an event that the policy requires isn't in the boot event log",
    "boot.secure_boot": "Secure Boot is off, or firmware did not say that it is on",
    "boot.separator.missing": "a PCR that must have a separator has none",
    "boot.separator.repeated": "a PCR has more than one separator",
    "boot.separator.value": "a separator tells of an error of the firmware",
    "ima.log.missing": "no IMA log",
    "ima.log.format": "the IMA log can't be read",
    "ima.log.start": "only the new part of the IMA log came, and what it goes on from isn't known",
    "ima.replay.mismatch": "no prefix of the IMA log leads to the quoted PCR value",
    "ima.replay.rollback": "the quoted prefix is shorter than the last accepted one",
    "ima.entries.many": "so many entries are unacceptable that the list wasn't replayed to its end",
    "ima.boot_aggregate.missing": "the IMA log doesn't start with boot_aggregate",
    "ima.boot_aggregate.mismatch": "boot_aggregate isn't the hash of the quoted PCRs 0-9",
    "ima.entry.pcr": "an entry is for another PCR than the policy expects it in",
    "ima.entry.template": "an entry's template isn't known or not accepted",
    "ima.entry.hash": "a file's digest isn't SHA-256",
    "ima.file.unknown": "a measured file isn't in the policy",
    "ima.file.digest": "a measured file has another digest than the policy's",
    "ima.signature.invalid": "a file isn't in the policy, and no accepted key signed it",
    "ima.key.format": "a key that was loaded can't be read, or is too weak",
    "ima.key.unknown": "a key that the policy doesn't name was loaded into a keyring",
    "ima.buffer.digest": "the digest of a measured buffer isn't of the buffer",
    "ima.buffer.unknown": "a measured buffer isn't in the policy",
    "ima.violation": "the kernel recorded a measurement violation",
    "ima.domain.record": "a record about containers can't be read",
    "ima.domain.unknown": "an entry or aggregate names a container that no earlier record made",
    "ima.domain.duplicate": "two containers have the same number",
    "ima.domain.overflow": "the kernel could no longer tell containers apart",
    "ima.manager.unknown": "a container was made by a program that may not make containers",
    "ima.manager.unmeasured": "a container was made by a program that the list doesn't have before",
    "ima.container.unknown": "the policy has no list of files for a container",
    "ima.container.file": "a container used a file that isn't in its list",
    "ima.container.digest": "a container's file has another digest than its list's",
    "ima.container.list": "a container's own list holds an entry that isn't the container's",
    "ima.aggregate.hash": "a container's aggregate isn't SHA-256",
    "ima.aggregate.mismatch": "a sealed aggregate isn't that of the container's entries",
    "ima.aggregate.missing": "no aggregate covers a container",
    "ima.aggregate.unsealed": "a container has more entries after its aggregate than allowed",
}
for _verifier in tee.verifiers().values():
    FAILURES.update(_verifier.failures)


class Failure(msgspec.Struct, frozen=True, order=True):
    """One failure: an id of :data:`FAILURES`, and what was found."""

    id: str
    detail: str


class FailureList:
    """Collects failures in the order in which they are found.

    ``stage`` is the one that runs, ``first_stage`` the one that found the first failure, or "".
    """

    def __init__(self) -> None:
        self.found: list[Failure] = []
        self.stage = ""
        self.first_stage = ""

    def add(self, failure_id: str, detail: str) -> None:
        """Add one; KeyError for an id that isn't in :data:`FAILURES`."""
        if failure_id not in FAILURES:
            raise KeyError(failure_id)
        self.first_stage = self.first_stage or self.stage
        self.found.append(Failure(failure_id, detail))

    def add_all(self, problems: Iterable[tuple[str, str]]) -> None:
        """Add each of ``problems``, an id and what was found; KeyError as for :meth:`add`."""
        for failure_id, detail in problems:
            self.add(failure_id, detail)

    def require(self, condition: bool, failure_id: str, detail: str) -> bool:
        """Add one unless ``condition`` holds; gives ``condition`` back."""
        if not condition:
            self.add(failure_id, detail)
        return condition
