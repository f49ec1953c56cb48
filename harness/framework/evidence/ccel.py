"""The CC event log (ACPI table CCEL): a boot event log whose events go to a TEE's registers.

It has the layout of the TCG's crypto-agile log. Its "PCR" is a measurement register: for Intel TDX
0 is MRTD, which the TDX module measures itself before the guest runs, and 1 to 4 are RTMR 0 to 3.
"""

from collections.abc import Iterable

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log
from harness.framework.evidence.boot_event_log import ALG_SHA384, EV_NO_ACTION, BootEvent

RTMRS = 4

_WHAT = "CC event log"


def parse(log: bytes) -> list[BootEvent]:
    """All events in order; the area may be padded, see ``boot_event_log.parse``.

    Raises:
        ParseError: as ``boot_event_log.parse``, or an event for a register that no guest extends.
    """
    events = boot_event_log.parse(log)
    for number, event in enumerate(events):
        if event.kind != EV_NO_ACTION and not 1 <= event.pcr <= RTMRS:
            raise ParseError(_WHAT, f"event {number} is for register {event.pcr}, expected 1 to 4")
    return events


def replay(events: Iterable[BootEvent]) -> tuple[bytes, ...]:
    """RTMR 0 to 3 (SHA-384) after the events that :func:`parse` gave; those without are zero.

    Raises:
        ParseError: an event has no SHA-384 digest.
    """
    values = boot_event_log.replay(events, ALG_SHA384)
    return tuple(values.get(1 + n, bytes(48)) for n in range(RTMRS))
