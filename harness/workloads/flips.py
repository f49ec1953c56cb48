"""Flip coverage: every byte of accepted evidence, changed one at a time, must be refused.

What is accepted all the same is listed by field, and is either in :data:`UNAUTHENTICATED`, with
the reason why it says nothing, or a gap of the verifier.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import msgspec

from harness.framework.verify import AttestationResult, Challenge, Policy, VerificationCache, verify
from harness.model.errors import InputError, RejectedError
from harness.workloads.flip_fields import fields_of, kind_of

ALL_MASKS = (0x01, 0x80, 0xFF)
UNAUTHENTICATED: Mapping[str, str] = {
    "boot_log.header.pcr": "the header is never extended",
    "boot_log.header.sha1": "the header is never extended",
    "boot_log.header.data": "its platform class, versions and vendor bytes are never extended",
    "boot_log[].type": "no TPM sees the type of an event; policies judge the digest",
    "boot_log[].sha1": "the SHA-1 bank isn't quoted",
    "boot_log[].data": "the description of what was hashed; policies judge the digest",
    "ima_log[].sha1": "the SHA-256 bank extends the hash of the data, which is computed anew",
    "ima_log.after_quote": "the machine measured on after the quote; nobody looks at these entries",
    **{
        f"{report}.report.hardware.{field}": "only the machine that made a TDREPORT can check it"
        for report in ("launch_report", "fresh_report")
        for field in ("cpu_svn", "mac")
    },
}
# A paravisor's report names the key alone, not the TPM's public area that it stands in.
UNAUTHENTICATED_BY_PARAVISORS: Mapping[str, str] = {
    f"ak_public.{field}": "the report vouches for the key; what is required of the rest is checked"
    for field in ("name_alg", "attributes", "auth_policy")
}
_EXAMPLES = 8
# Results of an unchanged part are asked for by every flip elsewhere, so few are enough.
_CACHED_RESULTS = 256


class FieldFlips(msgspec.Struct, frozen=True):
    """Flips in one kind of field (``boot_log[].data``).

    ``failures`` counts by failure id the flips that were refused with it, among others maybe;
    ``examples`` are exact places of accepted flips (``boot_log[3].data at 2711 ^ 0x01``).
    """

    field: str
    flips: int
    accepted: int
    failures: dict[str, int]
    examples: tuple[str, ...]


class FlipCoverage(msgspec.Struct, frozen=True):
    """What became of every flip; ``compared`` of them were judged without a cache as well."""

    scheme: str
    size_bytes: int
    masks: tuple[int, ...]
    flips: int
    rejected: int
    compared: int
    seconds: float
    fields: tuple[FieldFlips, ...]

    @property
    def accepted_fields(self) -> tuple[str, ...]:
        """Fields with a byte whose change was accepted."""
        return tuple(field.field for field in self.fields if field.accepted)

    @property
    def unjustified(self) -> tuple[FieldFlips, ...]:
        """Those that aren't known to be unauthenticated: gaps of the verifier."""
        known = set(UNAUTHENTICATED)
        if self.scheme == "paravisor":
            known |= set(UNAUTHENTICATED_BY_PARAVISORS)
        return tuple(f for f in self.fields if f.accepted and f.field not in known)


def flip_coverage(
    evidence: bytes,
    policy: Policy,
    challenge: Challenge,
    now_s: float,
    *,
    masks: tuple[int, ...] = (0x01,),
    places: Iterable[int] | None = None,
    compare_every: int = 64,
    processes: int = 1,
) -> FlipCoverage:
    """Change each byte of ``evidence`` (or those at ``places``) by XOR with each of ``masks``.

    A cache spares what a flip doesn't touch; every ``compare_every``-th flip is judged without one
    too, and both must say the same.

    Raises:
        InputError: the unchanged evidence isn't accepted, or a mask changes nothing.
        RejectedError: the cache changed an answer.
    """
    started = time.monotonic()
    if not all(0 < mask < 256 for mask in masks):
        raise InputError(f"flip coverage: masks {masks}, expected numbers from 1 to 255")
    case = _Case(evidence, policy, challenge, now_s, compare_every)
    result = case.judge(evidence, None)
    if not result.accepted:
        found = ", ".join(sorted({failure.id for failure in result.failures}))
        raise InputError(f"flip coverage: the evidence itself is refused: {found}")
    wanted = list(range(len(evidence)) if places is None else places)
    # Neighbours cost about the same, so each process takes every n-th place.
    shares = [(case, wanted[first::processes], masks) for first in range(processes)]
    if processes == 1:
        flips = list(_flips(*shares[0]))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            flips = [flip for share in pool.map(_share, shares) for flip in share]
    fields = _by_field(flips, evidence, result.ima_entries)
    return FlipCoverage(
        scheme=policy.scheme,
        size_bytes=len(evidence),
        masks=masks,
        flips=len(flips),
        rejected=sum(bool(flip.failures) for flip in flips),
        compared=sum(flip.compared for flip in flips),
        seconds=time.monotonic() - started,
        fields=fields,
    )


class _Case(NamedTuple):
    evidence: bytes
    policy: Policy
    challenge: Challenge
    now_s: float
    compare_every: int

    def judge(self, evidence: bytes, cache: VerificationCache | None) -> AttestationResult:
        return verify(evidence, self.policy, self.challenge, self.now_s, cache)


class _Flip(NamedTuple):
    at: int
    mask: int
    failures: tuple[str, ...]
    compared: bool


def _share(share: tuple[_Case, list[int], tuple[int, ...]]) -> list[_Flip]:
    return list(_flips(*share))


def _flips(case: _Case, places: list[int], masks: tuple[int, ...]) -> Iterator[_Flip]:
    cache = VerificationCache(_CACHED_RESULTS)
    case.judge(case.evidence, cache)
    changed = bytearray(case.evidence)
    for number, at in enumerate(places):
        for mask in masks:
            changed[at] ^= mask
            wire = bytes(changed)
            changed[at] ^= mask
            result = case.judge(wire, cache)
            compared = number % case.compare_every == 0
            if compared and case.judge(wire, None) != result:
                raise RejectedError(
                    f"flip coverage: byte {at} ^ {mask:#04x} is judged otherwise with a cache"
                )
            failures = tuple(sorted({failure.id for failure in result.failures}))
            yield _Flip(at, mask, failures, compared)


def _by_field(flips: list[_Flip], evidence: bytes, ima_entries: int) -> tuple[FieldFlips, ...]:
    """The flips grouped by kind of field, in the order of the evidence."""
    names = [""] * len(evidence)
    for start, end, field in fields_of(evidence, ima_entries):
        names[start:end] = [field] * (end - start)
    groups: dict[str, list[_Flip]] = {}
    for flip in sorted(flips):
        groups.setdefault(kind_of(names[flip.at]), []).append(flip)
    return tuple(_field(kind, group, names) for kind, group in groups.items())


def _field(kind: str, flips: list[_Flip], names: list[str]) -> FieldFlips:
    accepted = [flip for flip in flips if not flip.failures]
    return FieldFlips(
        field=kind,
        flips=len(flips),
        accepted=len(accepted),
        failures=dict(sorted(Counter(i for flip in flips for i in flip.failures).items())),
        examples=tuple(
            f"{names[flip.at]} at {flip.at} ^ {flip.mask:#04x}" for flip in accepted[:_EXAMPLES]
        ),
    )
