"""One guest under QEMU: its command line, its life, and what it says."""

from harness.guest.machine.command import ControlPort, Guest, qemu_command
from harness.guest.machine.results import GuestOutputError, GuestResults, Query
from harness.guest.machine.run import GuestEnd, run_guest

__all__ = [
    "ControlPort",
    "Guest",
    "GuestEnd",
    "GuestOutputError",
    "GuestResults",
    "Query",
    "qemu_command",
    "run_guest",
]
