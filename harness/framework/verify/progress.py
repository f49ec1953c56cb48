"""Whether evidence can come after the last accepted: rollback, clones, restarts, other keys.

Pure functions of what was stored and what the quote says; who stores it calls them
(``framework.service``). TPMS_CLOCK_INFO: TPM 2.0 Library Part 2, §10.11.
"""

import hmac
from collections.abc import Container, Iterator
from typing import NamedTuple

from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.evidence.quote import QuoteInfo
from harness.framework.verify.challenge import Previous
from harness.framework.verify.failures import Failure
from harness.framework.verify.known_list import KnownList
from harness.framework.verify.result import AttestationResult

# A TPM's clock may be wrong by tens of percent; one that is half again as fast is another's.
_MAX_CLOCK_RATE = 1.5
_CLOCK_SLACK_MS = 1000.0


def goes_on_from(prefix: ImaPrefix, stored: KnownList | None) -> KnownList | None:
    """``stored`` if that is the prefix that evidence goes on from."""
    if stored is None or prefix.entries != stored.end.entries:
        return None
    return stored if hmac.compare_digest(prefix.pcr, stored.end.pcr) else None


class Standing(NamedTuple):
    """Where a key stands now: its TPM Name, what its TPM quoted, entries of the quoted prefix.

    ``ima_entries`` is None where nobody looked. ``continues``: whether the list goes through the
    point where it stood when evidence was last accepted; None if that isn't known.
    """

    ak_name: bytes
    quote: QuoteInfo
    ima_entries: int | None
    continues: bool | None = None


def check(
    previous: Previous, now: Standing, now_s: float, *, accept_reset: bool
) -> Iterator[Failure]:
    """Why evidence at ``now_s`` (seconds of the verifier's clock) can't follow ``previous``."""
    if previous.ak_name and not hmac.compare_digest(previous.ak_name, now.ak_name):
        yield Failure(
            "freshness.instance",
            f"the instance belongs to key {previous.ak_name.hex()}, which is not revoked; "
            f"this is {now.ak_name.hex()}",
        )
        return
    counts = (now.quote.reset_count, now.quote.restart_count)
    then = (previous.reset_count, previous.restart_count)
    if (*counts, now.quote.clock) < (*then, previous.clock):
        yield Failure(
            "freshness.rollback",
            f"resets, restarts and clock are {(*counts, now.quote.clock)}, "
            f"were {(*then, previous.clock)}",
        )
    if counts[0] == then[0]:
        yield from _check_list(previous, now)
        yield from _check_clock(previous, now.quote.clock, now_s)
    if counts > then and not accept_reset:
        # A guest that booted starts its list again; a vTPM alone was restarted if the list went on.
        went_on = now.continues and previous.ima_entries > 0
        yield Failure(
            "freshness.restart" if went_on else "freshness.reset",
            f"resets and restarts are {counts}, were {then}",
        )


def refuse_revoked(
    result: AttestationResult, keys: Container[bytes], hosts: Container[bytes]
) -> AttestationResult:
    """``result``, rejected if its key's or its host key's TPM Name is among the revoked ones."""
    if result.state is None:
        return result
    found = []
    if result.state.ak_name in keys:
        found.append(Failure("chain.ak.revoked", f"key {result.state.ak_name.hex()} is revoked"))
    if result.host_key and result.host_key in hosts:
        found.append(Failure("chain.host.revoked", f"host key {result.host_key.hex()} is revoked"))
    if not found:
        return result
    return result.rejected(*found)


def _check_list(previous: Previous, now: Standing) -> Iterator[Failure]:
    """The list only grows while the machine runs."""
    if now.ima_entries is None:
        return
    if now.ima_entries < previous.ima_entries:
        yield Failure(
            "ima.replay.rollback",
            f"{now.ima_entries} entries are quoted, {previous.ima_entries} were accepted before",
        )
    elif now.continues is False:
        yield Failure(
            "freshness.clone",
            f"the first {previous.ima_entries} entries are others than the accepted ones",
        )


def _check_clock(previous: Previous, clock: int, now_s: float) -> Iterator[Failure]:
    """Of two copies of a TPM one is behind: asked in turn, the clock jumps back or ahead.

    The earlier quote was made after its challenge was issued, the later one before now.
    """
    if not previous.issued_s:
        return
    advanced, most = clock - previous.clock, (now_s - previous.issued_s) * 1000
    if advanced > most * _MAX_CLOCK_RATE + _CLOCK_SLACK_MS:
        yield Failure(
            "freshness.clone",
            f"the TPM's clock advanced by {advanced} ms in at most {most:.0f} ms",
        )
