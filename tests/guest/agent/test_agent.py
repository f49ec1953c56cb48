"""The agent in a real guest: what it says for a job, and how it says that it can't."""

from collections import Counter
from pathlib import Path

import pytest

from harness.framework.evidence.ima_log import ImaEntry, parse_entry
from harness.guest import build
from harness.guest.machine.port import job_message

from .conftest import Boot

_SMALL_FILES = "file_measurement count=3 warm=1 sizes=4096,65536:2 ops=exec,open,mmap"


def entries_of(log: bytes) -> list[ImaEntry]:
    entries, at = [], 0
    while at < len(log):
        entry, at = parse_entry(log, at)
        entries.append(entry)
    return entries


def test_the_agent_is_one_static_program() -> None:
    content = build.build_agent().read_bytes()
    assert content[:4] == b"\x7fELF"
    assert b"ld-musl" not in content


def test_a_small_job_gives_its_samples_counts_and_files(boot: Boot) -> None:
    end = boot("# a comment", "boot", _SMALL_FILES, "container_start count=2", "containers", "logs")
    assert (end.status, end.reason) == ("ok", "")
    results = end.results
    measured = Counter(s.part for s in results.samples if s.phase == "measured")
    stages = {s.part: s.value for s in results.samples if s.part in ("init", "system", "container")}
    assert 0 < stages["init"] < stages["system"] < stages["container"]
    for scope in ("host", "container", "second"):
        for op in ("exec", "open", "mmap"):
            assert measured[f"{scope}.{op}.first.4KiB"] == 3
            assert measured[f"{scope}.{op}.first.64KiB"] == 2
            for size in ("4KiB", "64KiB"):
                assert measured[f"{scope}.{op}.again.{size}"] == 8
    assert measured["control.stat"] == measured["control.getppid"] == 3
    assert measured["start.first"] == measured["start.again"] == 2
    assert all(sample.value > 0 for sample in results.samples)
    assert results.notes["ran.A"] == "app1 app2 app3"
    entries = entries_of(results.named("ima_log")[0])
    assert (
        len(entries) == results.counts["ima.entries.pcr10"] == results.counts["ima.runtime_count"]
    )
    assert results.counts["ima.entries.pcr11"] == results.counts["domains"] == 0


def test_stock_measures_what_three_run_only_once(boot: Boot) -> None:
    end = boot("containers violation=1", "logs")
    assert end.status == "ok"
    log = end.results.named("ima_log")[0]
    assert log.count(b"/bin/app1\0") == 1
    assert end.results.counts["ima.violations"] == 1


def test_the_patched_kernel_keeps_a_list_per_container(boot: Boot) -> None:
    end = boot("containers", "hide kind=nested", "logs", namespaced=True, policy="container")
    assert end.status == "ok"
    assert end.results.counts["domains"] == 3
    assert end.results.counts["ima.entries.pcr11"] == 6
    lists = [end.results.named(f"ns.{domain}.ima_log")[0] for domain in (1, 2, 3)]
    assert [content.count(b"/bin/app1\0") for content in lists] == [1, 1, 0]
    assert [content.count(b"/bin/evil\0") for content in lists] == [0, 0, 1]


def test_a_record_names_crun_by_the_file_that_was_measured(boot: Boot) -> None:
    # crun runs from a sealed copy in memory, which no policy measures.
    end = boot(
        "container_start count=1 warm=0 runtime=crun",
        "logs",
        salt=1,
        namespaced=True,
        policy="container",
        images=(build.build_image(),),
    )
    assert (end.status, end.reason) == ("ok", "")
    entries = entries_of(end.results.named("ima_log")[0])
    crun = next(entry.digest.hex() for entry in entries if entry.path == "/image/usr/bin/crun")
    records = [entry.extra.decode() for entry in entries if entry.path == "ns_create"]
    assert len(records) == 2
    assert all(record.endswith(f" manager=sha256:{crun}") for record in records)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no_such_directive", "job: no directive no_such_directive"),
        ("file_measurement counts=3", "job: file_measurement has no key counts"),
        (
            "application names=compile",
            "root image: no block device with an erofs that has /usr/bin",
        ),
        ("tpm count=3", "/dev/tpm0: No such file or directory"),
        ("log_growth entries=500000 limit=1", "a directive ran longer than its time limit"),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(boot: Boot, line: str, reason: str) -> None:
    end = boot("boot", line, "boot")
    assert end.status == "failed"
    assert end.reason == f"guest.fail {reason}"
    assert not end.results.done


def test_counted_boots_with_one_salt_are_the_same_bytes(boot: Boot, tmp_path: Path) -> None:
    outputs = []
    for salt in (1, 1, 2):
        end = boot(
            "boot", _SMALL_FILES, "container_start count=2", "log_growth entries=50", salt=salt
        )
        assert end.status == "ok", end.reason
        outputs.append((tmp_path / "results").read_bytes())
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]


def test_the_control_port_brings_the_job_and_a_long_list(boot_with_port: Boot) -> None:
    end = boot_with_port(job_message(b"log_growth entries=3000 step=1500\nlogs\n"))
    assert (end.status, end.reason) == ("ok", "")
    assert {s.part for s in end.results.samples} >= {"append.1500", "read.3000"}
    assert len(entries_of(end.results.named("ima_log")[0])) > 3000


def test_no_job_on_the_control_port_fails(boot_with_port: Boot) -> None:
    end = boot_with_port(b"jobs 3\n")
    assert end.reason == "guest.fail control port: expected the job, got jobs 3"
