"""Parts of guest metrics: what they mean, and which of them are equal work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.counted import (
    APPLICATION,
    BOOT,
    FILES,
    GROWTH,
    SCALE,
    STARTS,
    equal_work,
    file_part,
    numbered,
    operation_name,
    part_rank,
    size_text,
)


@given(
    st.sampled_from(["host", "container", "second"]),
    st.sampled_from(["exec", "open", "mmap"]),
    st.booleans(),
    st.integers(1, 1023),
    st.sampled_from(["B", "KiB", "MiB", "GiB"]),
)
def test_a_file_part_reads_back(
    scope: str, operation: str, again: bool, number: int, unit: str
) -> None:
    turn = "again" if again else "first"
    parsed = file_part(f"{scope}.{operation}.{turn}.{number}{unit}")
    assert parsed is not None
    assert (parsed.scope, parsed.operation, parsed.again) == (scope, operation, again)
    assert parsed.size_text == f"{number} {unit}"


@pytest.mark.parametrize(
    "part",
    ["control.stat", "host.exec.first.", "host.exec.first.16KB", "host.exec.16KiB", "HOST.x", ""],
)
def test_what_is_no_file_operation_is_not_taken_for_one(part: str) -> None:
    assert file_part(part) is None


def test_numbers_of_domains_and_entries_are_read_from_parts() -> None:
    assert numbered("first_file.1024") == ("first_file", 1024)
    assert numbered("memory.16.bytes") == ("memory", 16)
    assert numbered("container.exec.first.16KiB") is None
    assert numbered("init") is None
    assert size_text(1536 * 2**10) == "1.5 MiB"


@pytest.mark.parametrize(
    ("metric", "part", "equal"),
    [
        (FILES, "container.exec.first.16KiB", True),
        (FILES, "second.exec.again.16KiB", True),
        (FILES, "second.exec.first.16KiB", False),
        (FILES, "control.stat", True),
        (BOOT, "init", True),
        (BOOT, "system", True),
        (BOOT, "container", False),
        (BOOT, "total", False),
        (APPLICATION, "compile", True),
        (GROWTH, "append.1000", True),
        (STARTS, "start.first", False),
        (SCALE, "create.16", False),
        ("guest_tpm_command_latency_ns", "pcr_extend", False),
    ],
)
def test_new_work_is_never_called_equal(metric: str, part: str, equal: bool) -> None:
    assert equal_work(metric, part) == equal


def test_operations_are_named_and_ordered_as_people_read_them() -> None:
    parts = [
        "container.open.first.16KiB",
        "host.exec.again.4KiB",
        "host.exec.first.1MiB",
        "host.exec.first.4KiB",
        "control.stat",
    ]
    names = [operation_name(FILES, p) for p in sorted(parts, key=lambda p: part_rank(FILES, p))]
    assert names == [
        "exec 4 KiB, guest host, first",
        "exec 1 MiB, guest host, first",
        "exec 4 KiB, guest host, again",
        "open 16 KiB, container, first",
        "file measurement, control stat",
    ]
    assert operation_name(GROWTH, "append.10000") == "append at 10,000 entries"
    assert operation_name(STARTS, "start.first") == "container start, new program"
