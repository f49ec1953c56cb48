"""Quotes: changed, forged, of other PCRs or banks (rows T08, T09, T23 and T32)."""

from collections.abc import Callable
from hashlib import sha256

import msgspec
from tpm2_pytss import TPM2_ALG, TPML_PCR_SELECTION, TPMS_PCR_SELECTION, TSS2_Exception

from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, confirmation
from harness.framework.evidence.bundle import Quote, decode_evidence
from harness.framework.tpm import keys
from harness.framework.tpm.issuer import TpmIssuerKey
from harness.workloads.attestation import extend_logs
from harness.workloads.logs import BootLog, ImaLog
from harness.workloads.security.lab import Lab
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World
from harness.workloads.software_keys import Key, new_key, signed_quote, tpm_signature

# TPMS_ATTEST: magic, type, then the signer's Name (TPM2B of 34 bytes) and the qualifying data.
_MAGIC_AT, _TYPE_AT, _NONCE_AT = 0, 4, 6 + 36 + 2
_SELECTION_FROM_END = -(2 + 32) - 3


def flipped(data: bytes, at: int) -> bytes:
    """``data`` with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _edited_attest(case: str, at: int) -> None:
    """Register a quote with one bit of the signed structure changed."""

    def mount(world: World) -> Mounted:
        quote = world.evidence.quote
        return world.edit(quote=msgspec.structs.replace(quote, attest=flipped(quote.attest, at)))

    attack("T08", case, "evidence")(mount)


_edited_attest("quote-magic-changed", _MAGIC_AT)
_edited_attest("quote-type-changed", _TYPE_AT + 1)
_edited_attest("quote-nonce-changed", _NONCE_AT)
_edited_attest("quote-selection-changed", _SELECTION_FROM_END)
_edited_attest("quote-digest-changed", -1)


@attack("T08", "quote-signature-changed", "evidence")
def signature_changed(world: World) -> Mounted:
    """One bit of the signature."""
    quote = world.evidence.quote
    changed = msgspec.structs.replace(quote, signature=flipped(quote.signature, -1))
    return world.edit(quote=changed)


@attack("T08", "quote-narrowed", "deployment")
def narrowed(world: World) -> Mounted:
    """The vTPM quotes the firmware's PCRs alone, and so leaves out what the system ran."""
    boot, ima = world.logs
    evidence = world.quoted(world.pod, (boot.log, ima.binary), tuple(range(8)))
    return world.against_clean(world.presented(evidence))


@attack("T08", "certification-as-a-quote", "deployment")
def certification_as_quote(world: World) -> Mounted:
    """The vTPM's key truly signs another structure of the TPM's: a certification of itself."""
    pod = world.pod
    qualifier = binding.quote_qualifier(world.nonce)
    attest, signature = pod.ectx.certify(pod.ak.handle, pod.ak.handle, qualifier, keys.NULL_SCHEME)
    return world.edit(quote=Quote(bytes(attest), bytes(signature.marshal())))


@attack("T08", "forgery-signed-in-the-vtpm", "deployment")
def signed_in_the_vtpm(world: World) -> Mounted:
    """The vTPM's key signs a forged quote, which it can only as what no TPM has made."""
    forged = b"\xfeTCG" + world.evidence.quote.attest[4:]
    key = TpmIssuerKey(world.pod.ectx, world.pod.ak)
    return world.edit(quote=Quote(forged, tpm_signature(key, forged)))


@attack("T31", "attestation-key-signs-a-quote-from-outside", "deployment")
def signs_from_outside(world: World) -> Mounted:
    """The TPM is asked to sign a quote that it didn't make; a certificate it signs."""
    key = TpmIssuerKey(world.pod.ectx, world.pod.ak)

    def sign(message: bytes) -> Callable[[], object]:
        def act() -> object:
            try:
                return tpm_signature(key, message)
            except (TSS2_Exception, ValueError) as error:
                raise FrameworkError(str(error)) from error

        return act

    return Mounted(
        Attempted("tpm", sign(world.evidence.quote.attest)),
        Attempted("tpm", sign(b"\x30\x82 a certificate")),
    )


@attack("T08", "quote-signed-in-software", "evidence")
def signed_in_software(world: World) -> Mounted:
    """A quote of the right form by a key that no certificate names."""
    return world.edit(quote=signed_quote(new_key(), world.evidence.quote.attest))


@attack("T09", "unlogged-boot-event", "deployment")
def unlogged_boot_event(world: World) -> Mounted:
    """Something extends the boot loader's PCR and leaves no event."""
    return _extended_beside_the_log(world, 4)


@attack("T09", "unlogged-measurement", "deployment")
def unlogged_measurement(world: World) -> Mounted:
    """Something extends IMA's PCR and leaves no entry."""
    return _extended_beside_the_log(world, 10)


def _extended_beside_the_log(world: World, pcr: int) -> Mounted:
    pod = world.pod_with()
    twin = world.presented(world.attested(pod))
    nothing = ImaLog(b"", (), {})
    extend_logs(pod.tcti, BootLog(b"", ((pcr, sha256(b"unlogged").digest()),)), nothing)
    return Mounted(world.presented(world.attested(pod)), twin)


@attack("T09", "pcr-values-changed", "evidence")
def values_changed(world: World) -> Mounted:
    """The values beside the quote aren't those that were quoted."""
    values = dict(world.evidence.pcr_values)
    values[4] = flipped(values[4], 0)
    return world.edit(pcr_values=values)


def _bank(case: str, selection: TPML_PCR_SELECTION) -> None:
    """Register a quote that the vTPM makes over other banks."""

    def mount(world: World) -> Mounted:
        pod, qualifier = world.pod, binding.quote_qualifier(world.nonce)
        attest, signature = pod.ectx.quote(pod.ak.handle, selection, qualifier, keys.NULL_SCHEME)
        return world.edit(quote=Quote(bytes(attest), bytes(signature.marshal())))

    attack("T32", case, "deployment")(mount)


_ALL = ",".join(str(pcr) for pcr in range(11))
_bank("sha1-bank-quoted", TPML_PCR_SELECTION.parse(f"sha1:{_ALL}"))
_bank("sha1-and-sha256-bank-quoted", TPML_PCR_SELECTION.parse(f"sha1:{_ALL}+sha256:{_ALL}"))
_NONE = TPML_PCR_SELECTION([TPMS_PCR_SELECTION(hash=TPM2_ALG.SHA256, sizeofSelect=3)])
_bank("no-pcr-quoted", _NONE)


@attack("T32", "nothing-measured", "deployment")
def nothing_measured(world: World) -> Mounted:
    """A vTPM that nothing was measured into: its PCRs are still zero, and so are the logs empty."""
    pod = world.pod_with((BootLog(b"", ()), ImaLog(b"", (), {})))
    evidence = world.quoted(pod, (b"", b""))
    return world.against_clean(world.presented(evidence))


def _host_quote(
    case: str, *, signer: Key | None = None, nonce: bytes | None = None, sent: bool = True
) -> None:
    """Register a quote of the host's own TPM that isn't behind the vTPM's quote."""

    def mount(world: World) -> Mounted:
        lab = Lab(world)
        policy = lab.policy(require_deep_quote=True)

        def quoted(key: Key, challenged: bytes) -> Quote:
            inner = world.evidence.quote.attest
            bound = binding.deep_quote_qualifier(challenged, inner)
            made = inner[:_NONCE_AT] + bound + inner[_NONCE_AT + len(bound) :]
            return signed_quote(key, made)

        honest = lab.evidence(deep_quote=quoted(lab.host_key, world.nonce))
        other = quoted(signer or lab.host_key, nonce or world.nonce) if sent else None
        return Mounted(
            world.presented(msgspec.structs.replace(honest, deep_quote=other), policy),
            world.presented(honest, policy),
        )

    attack("T23", case, "evidence")(mount)


_host_quote("quote-of-another-hosts-tpm", signer=new_key())
_host_quote("host-quote-for-another-nonce", nonce=bytes(32))
_host_quote("no-host-quote", sent=False)


def _presented_with(case: str, sent: bytes | None) -> None:
    """Register a relay of a genuine pod's evidence, shown beside a key that isn't the pod's."""

    def mount(world: World) -> Mounted:
        boot, ima = world.logs
        policy = msgspec.structs.replace(world.policy(), require_confirmation_key=True)
        own = confirmation.encode_key(new_key().public_key())
        made = world.pod.attest(world.nonce, boot.log, ima.binary, confirmation_key=own)
        honest = decode_evidence(made)
        relayed = msgspec.structs.replace(honest, confirmation_key=sent)
        return Mounted(world.presented(relayed, policy), world.presented(honest, policy))

    attack("T23", case, "evidence")(mount)


_presented_with("confirmation-key-exchanged", confirmation.encode_key(new_key().public_key()))
_presented_with("confirmation-key-left-out", None)
