"""`attestbench attest replay`: logs without a quote."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click

from harness.cli.common import json_option, print_json, read_file, text_table
from harness.cli.policy_files import read_policy
from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ccel
from harness.framework.verify import Failure
from harness.framework.verify.unquoted import binary_list, judge_cc_log, judge_logs, replay_list
from harness.model.errors import InputError, RejectedError

_FILE = click.Path(path_type=Path, dir_okay=False)


class _Logs(NamedTuple):
    """The files that were given; the IMA list as binary."""

    boot: bytes | None
    ima: bytes | None
    cc: bytes | None


@click.command()
@click.option("--boot-log", type=_FILE, help="TCG event log (binary_bios_measurements).")
@click.option("--ima-log", type=_FILE, help="IMA list, binary or text.")
@click.option("--cc-log", type=_FILE, help="CC event log of a TDX guest (data of the CCEL table).")
@click.option("--policy", type=_FILE, help="Also judge the logs by this policy.")
@click.option(
    "--cc-rules",
    type=click.Choice(["pod", "service"]),
    default="pod",
    show_default=True,
    help="Which of the policy's rules the CC event log is judged by.",
)
@json_option
def replay(
    boot_log: Path | None,
    ima_log: Path | None,
    cc_log: Path | None,
    policy: Path | None,
    cc_rules: str,
    *,
    as_json: bool,
) -> int:
    """Show the PCR values that logs lead to, and what a policy would refuse in them.

    Nothing has signed such logs: this helps to write a policy or to compare a PCR, and proves
    nothing. PCRs are of the SHA-256 bank, RTMRs SHA-384. An IMA list alone starts from zero, and
    whether its boot_aggregate is right can't be told. Exit 1 when the policy refuses something.
    """
    if boot_log is None and ima_log is None and cc_log is None:
        raise InputError("expected --boot-log, --ima-log or --cc-log FILE")
    logs, found = _replayed(boot_log, ima_log, cc_log)
    failures = () if policy is None else tuple(_judged(policy, logs, cc_rules))
    if policy is not None:
        found["failures"] = [{"id": one.id, "detail": one.detail} for one in failures]
    if as_json:
        print_json(found)
    else:
        _show(found, failures)
    if failures:
        raise RejectedError(f"{policy}: refuses these logs: {failures[0].id} and what is above")
    return 0


def _replayed(
    boot_log: Path | None, ima_log: Path | None, cc_log: Path | None
) -> tuple[_Logs, dict[str, object]]:
    """The logs, and what they lead to by the names of the JSON."""
    boot, ima, cc = (
        None if path is None else read_file(path) for path in (boot_log, ima_log, cc_log)
    )
    pcrs: Mapping[int, bytes] = {}
    found: dict[str, object] = {}
    if boot_log is not None and boot is not None:
        with _of(boot_log):
            events = boot_event_log.parse(boot)
            pcrs = boot_event_log.replay(events)
        found["boot_events"] = len(events)
    if ima_log is not None and ima is not None:
        with _of(ima_log):
            ima = binary_list(ima)
            whole = replay_list(ima, pcrs)
        pcrs = whole.pcrs
        found["ima_entries"] = dict(whole.templates)
        found["ima_violations"] = whole.violations
    if pcrs:
        found["pcrs"] = {str(pcr): value.hex() for pcr, value in sorted(pcrs.items())}
    if cc_log is not None and cc is not None:
        with _of(cc_log):
            found["rtmrs"] = [value.hex() for value in ccel.replay(ccel.parse(cc))]
    return _Logs(boot, ima, cc), found


@contextlib.contextmanager
def _of(path: Path) -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        raise InputError(f"{path}: {error}") from error


def _judged(path: Path, logs: _Logs, cc_rules: str) -> Iterator[Failure]:
    policy = read_policy(path)
    if logs.boot is not None or logs.ima is not None:
        yield from judge_logs(logs.boot, logs.ima, policy)
    if logs.cc is None:
        return
    rules = policy.pod_boot_rules if cc_rules == "pod" else policy.service_boot_rules
    if rules is None:
        raise InputError(
            f"{path}: {cc_rules}_boot_rules is missing, so that nothing judges the CC event log; "
            "add them, or leave --cc-log out"
        )
    yield from judge_cc_log(logs.cc, rules)


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
        click.echo(f"IMA list: {each or 'no entries'}; violations: {found['ima_violations']}")
    if failures:
        rows = [[one.id, one.detail] for one in failures]
        click.echo(text_table(["failure", "found (at most 16 of each log)"], rows))
    elif "failures" in found:
        click.echo("the policy refuses nothing in these logs")
