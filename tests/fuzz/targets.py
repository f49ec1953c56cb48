"""What is fuzzed: every parser of bytes from outside, as a function from bytes to nothing.

A target may raise nothing: what a parser is allowed to raise is caught here, and properties that
must hold of what it accepts are asserted here.
"""

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

from harness.framework import tee, wire
from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import (
    binding,
    boot_event_log,
    boot_events,
    bundle,
    cbor,
    ccel,
    ima_domains,
    ima_log,
    quote,
    tpm_public,
)
from harness.framework.evidence.bundle import LaunchClaims, TeeEvidence
from harness.framework.evidence.memo import forgetful
from harness.framework.tee import TeeVerificationError, csv_format, tdx_collateral
from harness.framework.verify import (
    AttestationResult,
    Challenge,
    Policy,
    VerificationCache,
    certificate,
    load_policy,
    verify,
    verify_container_list,
)
from harness.framework.verify.boot_rules import BootRule, BootRules, check_boot
from harness.framework.verify.policy import encode_policy

from . import seeds
from .mutators import Mutator, cbor_mutator, entry_mutator

# Bytes of memory per byte of input, and once: what decoding into objects may cost.
MEMORY_PER_BYTE, MEMORY_ONCE = 64, 512 * 1024


# Rules that let more of a kind's code be reached than the strict ones do.
_RULES: Mapping[str, Mapping[str, bool]] = {"tdx": {"require_collateral": False}}
_BOOT_RULES = BootRules(
    (
        BootRule(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "db", any=True),
        BootRule(8, "EV_IPL", ".linux", texts=("quiet",), optional=True),
    )
)


class Target(NamedTuple):
    """``run`` takes any bytes of at most ``max_size``; ``mutate`` knows the input's structure."""

    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]
    max_size: int
    mutate: Mutator | None = None


def _cbor(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert cbor.encode(cbor.decode(data, len(data))) == data


def _bundle(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert bundle.encode_evidence(bundle.decode_evidence(data)) == data


def _bindings(data: bytes) -> None:
    for decode in (
        binding.decode_launch_binding,
        binding.decode_host_binding,
        lambda raw: bundle.decode(raw, LaunchClaims, 8192),
    ):
        with contextlib.suppress(ParseError):
            assert bundle.encode(decode(data)) == data


def _frames(data: bytes) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ParseError):
            while wire.receive(here) is not None:
                pass


def _quote(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        quote.attest_header(data)
        info = quote.parse_quote(data)
        assert all(pcr < 32 for selection in info.selections for pcr in selection.pcrs)


def _public(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        public = tpm_public.parse_public(data)
        assert public.name[2:] in {sha256(data).digest(), public.name[2:]}


def _signature(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        made = tpm_public.parse_signature(data)
        for key in _keys():
            assert not tpm_public.verify_signature(key, b"never signed", made)


@cache
def _keys() -> tuple[tpm_public.PublicKey, ...]:
    areas = (seeds.public_area(), seeds.rsa_public_area())
    return tuple(tpm_public.parse_public(area).key for area in areas)


def _boot_log(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        ccel.replay(data)
    with contextlib.suppress(ParseError):
        events = boot_event_log.parse(data)
        assert len(events) <= len(data) // 18
        boot_event_log.replay(events)
        list(check_boot(events, _BOOT_RULES))


def _boot_event(data: bytes) -> None:
    for parse in (boot_events.parse_variable, boot_events.disk_guid):
        with contextlib.suppress(ParseError):
            parse(data)


def _tdx_collateral(data: bytes) -> None:
    for read in (tdx_collateral.read_tcb_info, tdx_collateral.read_qe_identity):
        with contextlib.suppress(ParseError):
            read(data)


def _ima_log(data: bytes) -> None:
    at = 0
    with contextlib.suppress(ParseError):
        while at < len(data):
            entry, end = ima_log.parse_entry(data, at)
            assert at < end <= len(data)
            at = end
            if entry.template == ima_log.IMA_NS:
                ima_domains.namespaces(entry)
    shown = b""
    with contextlib.suppress(ParseError):
        shown = ima_log.redact(data, 11)
    assert len(shown) <= 6 * len(data)


def _ima_records(data: bytes) -> None:
    entry = ima_log.ImaEntry(
        10, "ima-buf", "sha256", sha256(data).digest(), "record", data, bytes(32), False
    )
    for parse in (ima_domains.parse_creation, ima_domains.parse_aggregates):
        with contextlib.suppress(ParseError):
            parse(entry)


def _container_list(data: bytes) -> None:
    """The own list, then the redacted one, divided by a length."""
    split = int.from_bytes(data[:2])
    own, shown = data[2 : 2 + split], data[2 + split :]
    quoted = {10: bytes(32), 11: bytes(32)}
    verify_container_list(own, 1, shown, quoted, seeds.policy())


def _replay(data: bytes) -> None:
    """Replay of any list to the value that its first half leads to, found with the parser alone."""
    ends, values = [0], [bytes(32)]
    with contextlib.suppress(ParseError):
        while ends[-1] < len(data):
            entry, end = ima_log.parse_entry(data, ends[-1])
            ends.append(end)
            values.append(sha256(values[-1] + entry.extended).digest())
    at = (len(ends) + 1) // 2
    base = seeds.small_evidence()
    changed = msgspec.structs.replace(
        base,
        ima_log=data,
        pcr_values=base.pcr_values | {10: values[at] if at < len(values) else b"\1" * 32},
    )
    result = _judge(bundle.encode_evidence(changed), "allow-list")
    mismatch = result.has("ima.replay.mismatch") or result.has("ima.log.format")
    assert mismatch == (at >= len(values)) or not data, "another prefix than the parser's"


def _policy(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        policy = load_policy(data)
        assert load_policy(encode_policy(policy)) == policy


def _certificate(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        facts = certificate.parse_certificate(data)
        assert not certificate.is_issued_by(facts, _issuer()) or facts.issuer == facts.subject


def _revocation_list(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        certificate.is_list_of(certificate.parse_revocation_list(data), _issuer())


@cache
def _issuer() -> certificate.CertificateFacts:
    return certificate.parse_certificate(seeds.certificate(ca=True))


def _csv(data: bytes) -> None:
    for parse in (
        csv_format.parse_report,
        csv_format.parse_certificate,
        csv_format.parse_ca_certificate,
    ):
        with contextlib.suppress(ParseError):
            parse(data)


def _tee_target(kind: str) -> Target:
    """A kind's verifier under each root that comes with it; the input is a TeeEvidence."""
    verifier = tee.verifiers()[kind]
    rules = msgspec.convert(_RULES.get(kind, {}), verifier.rules_type)

    def run(data: bytes) -> None:
        with contextlib.suppress(ParseError):
            given = bundle.decode(data, TeeEvidence, 1 << 18)
            for root in verifier.roots.values():
                verifier.is_root_of(given, root)
                with contextlib.suppress(TeeVerificationError):
                    report = verifier.verify(given, root, rules, seeds.NOW_S, forgetful)
                    list(verifier.check_rules(report, rules))

    def made() -> tuple[bytes, ...]:
        own = (one for one in seeds.tee_evidence() if one.tee == kind)
        return tuple(bundle.encode(one) for one in own) or (
            bundle.encode(TeeEvidence(kind, b"", b"")),
        )

    return Target(run, made, 16384, cbor_mutator)


def _verify(data: bytes) -> None:
    """The whole verifier, with and without a cache that has seen the good evidence."""
    for scheme in ("allow-list", "chain"):
        result = _judge(data, scheme)
        assert result.accepted == (not result.failures)
        assert result == verify(data, *_case(scheme), seeds.NOW_S, _caches()[scheme])


def _judge(data: bytes, scheme: str) -> AttestationResult:
    return verify(data, *_case(scheme), seeds.NOW_S)


@cache
def _case(scheme: str) -> tuple[Policy, Challenge]:
    return seeds.policy(scheme), Challenge(seeds.NONCE, seeds.NOW_S - 1, seeds.NOW_S + 30)


@cache
def _caches() -> Mapping[str, VerificationCache]:
    return {"allow-list": VerificationCache(64), "chain": VerificationCache(64)}


def _container_seeds() -> tuple[bytes, ...]:
    made = []
    for folder in sorted((seeds.DATA / "ima").iterdir()):
        own, shown = (folder / "own1").read_bytes(), (folder / "ima_log").read_bytes()
        made.append(len(own).to_bytes(2) + own + ima_log.redact(shown, 11))
    return tuple(made)


def _record_seeds() -> tuple[bytes, ...]:
    digest = "ab" * 32
    return (
        f"id=1 cid=pod cgroup=2 mnt=3 pid=4 user=5 manager=sha256:{digest}".encode(),
        f"1 2 0 sha256:{digest}\n2 1 1 sha256:{digest}\n".encode(),
    )


def _frame_seeds() -> tuple[bytes, ...]:
    body = cbor.encode({"op": "attest", "nonce": bytes(16), "stages": {"a": 1}})
    return (len(body).to_bytes(4) + body, (len(body).to_bytes(4) + body) * 2)


def _evidence_seeds() -> tuple[bytes, ...]:
    return tuple(bundle.encode_evidence(one) for one in (seeds.small_evidence(), seeds.evidence()))


def _binding_seeds() -> tuple[bytes, ...]:
    bound = binding.launch_binding(seeds.claims(), b"report", bytes(32))
    values = (bound, binding.HostBinding("host", b"\0\x0b" + bytes(32)), seeds.claims())
    return tuple(bundle.encode(value) for value in values)


def _boot_event_seeds() -> tuple[bytes, ...]:
    """A variable, and the header of a partition table."""
    name = "SecureBoot".encode("utf-16-le")
    variable = bytes(16) + struct.pack("<QQ", len(name) // 2, 1) + name + b"\1"
    return variable, b"EFI PART" + bytes(84)


def _collateral_seeds() -> tuple[bytes, ...]:
    folder = seeds.DATA / "tdx"
    return tuple((folder / f"{name}.json").read_bytes() for name in ("tcbInfo", "enclaveIdentity"))


def _csv_seeds() -> tuple[bytes, ...]:
    given = next(one for one in seeds.tee_evidence() if one.tee == "csv")
    return given.report, given.certificates[832:], given.certificates[:832]


TARGETS: Mapping[str, Target] = {
    "cbor": Target(_cbor, _evidence_seeds, 32768, cbor_mutator),
    "bundle": Target(_bundle, _evidence_seeds, 65536, cbor_mutator),
    "bindings": Target(_bindings, _binding_seeds, 4096, cbor_mutator),
    "frames": Target(_frames, _frame_seeds, 4096),
    "quote": Target(_quote, lambda: (seeds.attest(),), 1024),
    "public": Target(_public, lambda: (seeds.public_area(), seeds.rsa_public_area()), 1024),
    "signature": Target(_signature, lambda: (seeds.signature(b""), seeds.rsa_signature()), 1024),
    "boot-log": Target(_boot_log, seeds.boot_logs, 16384),
    "boot-event": Target(_boot_event, _boot_event_seeds, 2048),
    "ima-log": Target(_ima_log, seeds.lists, 16384, entry_mutator),
    "ima-replay": Target(_replay, seeds.lists, 8192, entry_mutator),
    "ima-records": Target(_ima_records, _record_seeds, 2048),
    "container-list": Target(_container_list, _container_seeds, 8192),
    "policy": Target(_policy, seeds.policies, 8192),
    "certificate": Target(
        _certificate, lambda: (seeds.certificate(), seeds.certificate(ca=True)), 2048
    ),
    "revocation-list": Target(_revocation_list, lambda: (seeds.revocation_list(),), 2048),
    "csv-format": Target(_csv, _csv_seeds, 4096),
    "tdx-collateral": Target(_tdx_collateral, _collateral_seeds, 16384),
    **{f"tee-{kind}": _tee_target(kind) for kind in tee.verifiers()},
    "verify": Target(_verify, _evidence_seeds, 65536, cbor_mutator),
}
