"""`attest replay` on logs that kernels and firmware really wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.framework.evidence import ima_log
from harness.framework.verify import BootRule, BootRules, ContainerRules, Policy, encode_policy

DATA = Path(__file__).parents[1] / "data"
GUEST = DATA / "ima" / "two-containers"
LOGS = ("--boot-log", GUEST / "boot_log", "--ima-log", GUEST / "ima_log")


def replay(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli.main", "attest", "replay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def quoted() -> dict[str, str]:
    """What the guest's TPM held."""
    lines = (GUEST / "pcrs").read_text().splitlines()
    return dict(line.split() for line in lines)


def text_of(entry: ima_log.ImaEntry) -> str:
    """A line as the kernel writes it, for the templates without a third field."""
    return f"10 {'ab' * 20} ima-ng {entry.algorithm}:{entry.digest.hex()} {entry.path}\n"


def test_logs_lead_to_the_pcrs_that_the_tpm_had() -> None:
    done = replay(*LOGS, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pcrs"] == {pcr: value for pcr, value in quoted().items() if pcr in told["pcrs"]}
    assert {"0", "7", "10", "11"} <= set(told["pcrs"])
    assert told["ima_entries"] == {"ima-buf": 4, "ima-ng": 4, "ima-ns": 5}
    shown = replay(*LOGS).stdout
    assert f"PCR 10    {quoted()['10']}" in shown
    assert "4 ima-buf, 4 ima-ng, 5 ima-ns; violations: 0" in shown


def test_a_text_list_leads_where_the_binary_one_does(tmp_path: Path) -> None:
    binary, text, at = b"", "", 0
    log = (GUEST / "ima_log").read_bytes()
    while at < len(log):
        start = at
        entry, at = ima_log.parse_entry(log, at)
        if entry.template == "ima-ng":
            binary += log[start:at]
            text += text_of(entry)
    (tmp_path / "binary").write_bytes(binary)
    (tmp_path / "text").write_text(text)
    binary_told, text_told = (replay("--ima-log", tmp_path / name) for name in ("binary", "text"))
    assert "PCR 10" in text_told.stdout
    assert text_told.stdout == binary_told.stdout


def test_a_policy_is_tried_on_logs_without_a_quote(tmp_path: Path) -> None:
    log, at = (GUEST / "ima_log").read_bytes(), 0
    files: dict[int, dict[str, tuple[bytes, ...]]] = {10: {}, 11: {}}
    while at < len(log):
        entry, at = ima_log.parse_entry(log, at)
        if entry.template != "ima-buf":
            files[entry.pcr][entry.path] = (entry.digest,)
    rules = ContainerRules(managers={"/init": files[10]["/init"]}, files=files[11])
    good = Policy(scheme="chain", ima=files[10], containers=rules)
    (tmp_path / "good.json").write_bytes(encode_policy(good))
    (tmp_path / "none.json").write_bytes(encode_policy(Policy(scheme="chain")))
    accepted = replay(*LOGS, "--policy", tmp_path / "good.json")
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert "refuses nothing in these logs" in accepted.stdout
    refused = replay(*LOGS, "--policy", tmp_path / "none.json")
    assert refused.returncode == 1
    assert "ima.file.unknown" in refused.stdout
    assert refused.stderr.count("\n") == 1
    for alone in (LOGS[:2], LOGS[2:]):
        assert replay(*alone, "--policy", tmp_path / "good.json").returncode == 0
    unknown = replay(*LOGS[2:], "--policy", tmp_path / "none.json")
    assert unknown.returncode == 1
    assert "ima.boot_aggregate" not in unknown.stdout


def test_a_cc_event_log_is_judged_by_the_rules_that_are_named(tmp_path: Path) -> None:
    log = ("--cc-log", DATA / "boot" / "CCEL_data_ovmf")
    rules = BootRules((BootRule(2, "EV_EFI_ACTION", any=True),), secure_boot=True)
    (tmp_path / "policy").write_bytes(encode_policy(Policy("chain", service_boot_rules=rules)))
    refused = replay(*log, "--policy", tmp_path / "policy", "--cc-rules", "service")
    assert refused.returncode == 1
    assert "Secure Boot is off" in refused.stdout
    assert "RTMR 0 EV_EFI_HANDOFF_TABLES2 " in refused.stdout
    missing = replay(*log, "--policy", tmp_path / "policy")
    assert missing.returncode == 2
    assert "pod_boot_rules is missing" in missing.stderr


def test_rtmrs_of_a_cc_event_log() -> None:
    done = replay("--cc-log", DATA / "boot" / "CCEL_data_ovmf", "--json")
    rtmrs = json.loads(done.stdout)["rtmrs"]
    assert [len(value) for value in rtmrs] == [96] * 4
    assert rtmrs[0].startswith("8566f998798d")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected --boot-log, --ima-log or --cc-log FILE"),
        (("--ima-log", "none"), "none: cannot be read: No such file"),
        (("--boot-log", GUEST / "ima_log"), "boot event log: truncated"),
        (("--ima-log", GUEST / "pcrs"), "IMA text list: line 1: "),
        (("--cc-log", GUEST / "boot_log"), "CC event log: event "),
        ((*LOGS, "--policy", GUEST / "pcrs"), "policy: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(arguments: tuple[object, ...], says: str) -> None:
    done = replay(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
