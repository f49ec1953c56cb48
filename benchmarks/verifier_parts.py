"""Our side of the verifier's benchmark: the timed calls, and where the time of a whole one goes.

All times are CPU time of this process: other work on the machine counts only as far as it makes
the caches cold.
"""

import gc
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from harness.framework.evidence import boot_event_log, ima_log, tpm_public
from harness.framework.evidence.memo import forgetful
from harness.framework.tee import sm2
from harness.framework.verify import (
    Challenge,
    Policy,
    VerificationCache,
    certificate,
    measurements,
    verify,
)
from harness.framework.verify import quotes as quote_checks
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.known_list import AcceptedLists, KnownList

from .paired import Timed
from .verifier_cases import NONCE, Case

_KEY = b"name of a key"
_STAGE_ROUNDS = 30
# Where signatures are checked, as the verifier looks the functions up.
_SIGNATURES: tuple[tuple[Any, str], ...] = (
    (tpm_public, "verify_signature"),
    (certificate, "is_issued_by"),
    (certificate, "is_list_of"),
    (sm2, "verify"),
)


def lists(case: Case, entries: int, known_entries: int) -> Iterator[tuple[str, str, Timed]]:
    """Name, Keylime's task to compare with, and our call."""
    evidence, policy = case.evidence, case.policy
    log, quoted = evidence.ima_log, evidence.pcr_values
    events = boot_event_log.parse(evidence.boot_log)

    def replay(policy: Policy, known: KnownList | None = None, part: bytes | None = None) -> Any:
        context = _context(policy)
        found = measurements.replay_ima_log(
            log if part is None else part, quoted, events, context, known, whole=part is None
        )
        if context.failures.found or found.entries != entries:
            raise SystemExit(f"our replay refused the list: {context.failures.found}")
        return found.end

    def first(*, table: bool) -> int:
        """Under a policy that no list was held against."""
        fresh = msgspec.structs.replace(policy)
        if table:
            fresh.plain_files  # noqa: B018
        return _timed(lambda: replay(fresh))

    end = replay(policy)
    policy.digest  # noqa: B018
    accepted = AcceptedLists()
    accepted.keep(_KEY, log, KnownList(policy.digest, end))
    at = _offset(log, known_entries)
    before = {**quoted, ima_log.IMA_PCR: _value_after(log, known_entries)}
    yield "policy's table made, first list", "list", lambda: first(table=False)
    yield "first list under a policy (cold)", "list", lambda: first(table=True)
    yield "another list under the policy", "list", lambda: _timed(lambda: replay(policy))
    yield (
        "known list, sent whole",
        "list",
        lambda: _timed(lambda: replay(policy, accepted.find(policy.digest, _KEY, log))),
    )
    known_end = end._replace(entries=known_entries, size=at, pcr=before[ima_log.IMA_PCR])
    known, part = KnownList(policy.digest, known_end), log[at:]
    name = f"known list, {entries - known_entries} new entries sent"
    yield name, "part", lambda: _timed(lambda: replay(policy, known, part))


def quotes(case: Case, count: int) -> Iterator[tuple[str, Timed]]:
    """Name and our call, which gives the nanoseconds of one of ``count`` in a row."""
    evidence, raw = case.evidence, case.evidence.ak_public
    public = tpm_public.parse_public(raw)
    signature = tpm_public.parse_signature(evidence.quote.signature)

    def check(key: tpm_public.PublicArea) -> None:
        checked = quote_checks.check_quote(evidence, key, NONCE, _context(case.policy))
        if checked is None or not checked.trusted:
            raise SystemExit("our check refused the quote")

    def in_a_row(call: Callable[[], object]) -> Timed:
        def run() -> int:
            begin = time.process_time_ns()
            for _ in range(count):
                call()
            return (time.process_time_ns() - begin) // count

        return run

    bare = in_a_row(
        lambda: tpm_public.verify_signature(public.key, evidence.quote.attest, signature)
    )
    yield "with the key's parsing", in_a_row(lambda: check(tpm_public.parse_public(raw)))
    yield "of a known key", in_a_row(lambda: check(public))
    yield "nothing but the signature", bare


def stages(case: Case, *, remembered: bool) -> tuple[dict[str, float], float, float]:
    """Medians in ms: of each stage, of all signature checks in it, and of the whole."""
    now = time.time()
    challenge = Challenge(NONCE, now - 1, now + 3600)
    cache = VerificationCache()
    by_stage: dict[str, list[int]] = defaultdict(list)
    signatures, totals = [], []
    for _ in range(_STAGE_ROUNDS + 1):
        marks: list[tuple[str, int]] = []
        with _signature_time() as spent:
            begin = time.process_time_ns()
            result = verify(
                case.wire, case.policy, challenge, now, cache if remembered else None,
                observer=partial(_mark, marks),
            )  # fmt: skip
            totals.append(time.process_time_ns() - begin)
        if not result.accepted:
            raise SystemExit(f"rejected: {result.failures[0]}")
        signatures.append(spent[0])
        for (stage, at), (_, after) in itertools.pairwise(marks):
            by_stage[stage].append(after - at)
    medians = {stage: statistics.median(values[1:]) / 1e6 for stage, values in by_stage.items()}
    whole = statistics.median(totals[1:]) / 1e6
    return medians, statistics.median(signatures[1:]) / 1e6, whole


def _mark(marks: list[tuple[str, int]], stage: str) -> None:
    marks.append((stage, time.process_time_ns()))


@contextmanager
def _signature_time() -> Iterator[list[int]]:
    """Sums up the nanoseconds within the functions that check signatures."""
    spent, before = [0], [getattr(module, name) for module, name in _SIGNATURES]

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            begin = time.process_time_ns()
            result = call(*given)
            spent[0] += time.process_time_ns() - begin
            return result

        return run

    for (module, name), call in zip(_SIGNATURES, before, strict=True):
        setattr(module, name, watched(call))
    try:
        yield spent
    finally:
        for (module, name), call in zip(_SIGNATURES, before, strict=True):
            setattr(module, name, call)


def _context(policy: Policy) -> Context:
    return Context(policy, 0.0, forgetful, FailureList())


def _timed(call: Callable[[], object]) -> int:
    gc.collect()
    begin = time.process_time_ns()
    call()
    return time.process_time_ns() - begin


def _offset(log: bytes, entries: int) -> int:
    at = 0
    for _ in range(entries):
        _, at = ima_log.parse_entry(log, at)
    return at


def _value_after(log: bytes, entries: int) -> bytes:
    import hashlib

    at, value = 0, bytes(32)
    for _ in range(entries):
        entry, at = ima_log.parse_entry(log, at)
        value = hashlib.sha256(value + entry.extended).digest()
    return value
