"""`attestbench attest replay`: logs without a quote."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from harness.cli.common import json_option, print_json, read_file, text_table
from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import boot_event_log, ccel
from harness.framework.verify import Failure, load_policy
from harness.framework.verify.unquoted import binary_list, judge_logs, replay_list
from harness.model.errors import InputError, RejectedError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--boot-log", type=_FILE, help="TCG event log (binary_bios_measurements).")
@click.option("--ima-log", type=_FILE, help="IMA list, binary or text.")
@click.option("--cc-log", type=_FILE, help="CC event log of a TDX guest (data of the CCEL table).")
@click.option("--policy", type=_FILE, help="Also judge boot and IMA log by this policy.")
@json_option
def replay(
    boot_log: Path | None,
    ima_log: Path | None,
    cc_log: Path | None,
    policy: Path | None,
    *,
    as_json: bool,
) -> int:
    """Show the PCR values that logs lead to, and what a policy would refuse in them.

    Nothing has signed such logs: this helps to write a policy or to compare a PCR, and proves
    nothing. PCRs are of the SHA-256 bank, RTMRs SHA-384. Exit 1 when the policy refuses something.
    """
    if boot_log is None and ima_log is None and cc_log is None:
        raise InputError("expected --boot-log, --ima-log or --cc-log FILE")
    boot, measured = (b"" if path is None else read_file(path) for path in (boot_log, ima_log))
    pcrs: Mapping[int, bytes] = {}
    found: dict[str, object] = {}
    if boot_log is not None:
        with _of(boot_log):
            events = boot_event_log.parse(boot)
            pcrs = boot_event_log.replay(events)
        found["boot_events"] = len(events)
    if ima_log is not None:
        with _of(ima_log):
            measured = binary_list(measured)
            whole = replay_list(measured, pcrs)
        pcrs = whole.pcrs
        found["ima_entries"] = dict(whole.templates)
        found["ima_violations"] = whole.violations
    if pcrs:
        found["pcrs"] = {str(pcr): value.hex() for pcr, value in sorted(pcrs.items())}
    if cc_log is not None:
        with _of(cc_log):
            found["rtmrs"] = [value.hex() for value in ccel.replay(read_file(cc_log))]
    failures = () if policy is None else _judged(policy, boot, measured)
    if policy is not None:
        found["failures"] = [{"id": one.id, "detail": one.detail} for one in failures]
    if as_json:
        print_json(found)
    else:
        _show(found, failures)
    if failures:
        first = f"{failures[0].id} ({failures[0].detail})"
        raise RejectedError(f"{policy}: refuses {len(failures)} things, the first is {first}")
    return 0


@contextlib.contextmanager
def _of(path: Path) -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        raise InputError(f"{path}: {error}") from error


def _judged(path: Path, boot_log: bytes, ima_list: bytes) -> tuple[Failure, ...]:
    try:
        return judge_logs(boot_log, ima_list, load_policy(read_file(path)))
    except PolicyError as error:
        raise InputError(f"{path}: {error}") from error


def _show(found: Mapping[str, object], failures: tuple[Failure, ...]) -> None:
    """For people: registers as a table, then counts, then what is refused."""
    rows = []
    if isinstance(pcrs := found.get("pcrs"), dict):
        rows += [[f"PCR {pcr}", value] for pcr, value in pcrs.items()]
    if isinstance(rtmrs := found.get("rtmrs"), list):
        rows += [[f"RTMR {number}", value] for number, value in enumerate(rtmrs)]
    click.echo(text_table(["register", "value that the logs lead to (nothing signed it)"], rows))
    if "boot_events" in found:
        click.echo(f"boot log: {found['boot_events']} events")
    if isinstance(templates := found.get("ima_entries"), dict):
        each = ", ".join(f"{count:,} {name}" for name, count in sorted(templates.items()))
        click.echo(f"IMA list: {each or 'no entries'}; {found['ima_violations']} violations")
    if failures:
        click.echo(text_table(["failure", "found"], [[one.id, one.detail] for one in failures]))
    elif "failures" in found:
        click.echo("the policy refuses nothing in these logs")
