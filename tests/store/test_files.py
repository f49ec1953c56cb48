"""The order of writes and fsyncs, observed at the system call level."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from harness.model.record import Sample, TrialRecord
from harness.store import CampaignWriter
from harness.store.files import append_durably, make_directory, replace_durably

RECORD = TrialRecord("t1", "c", "w", "a", "fake", 0, 0, "", 0.0, 1.0, "ok", "p", 1)
SAMPLE = Sample("fake_latency_ns", "total", "measured", 0, 1.0, "ns", "model")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every write and fsync, with the name of the file or folder."""
    seen: list[tuple[str, str]] = []
    real_write, real_sync = os.write, os.fsync

    def name(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    def write(descriptor: int, content: bytes) -> int:
        seen.append(("write", name(descriptor)))
        return real_write(descriptor, content)

    def sync(descriptor: int) -> None:
        seen.append(("fsync", name(descriptor)))
        real_sync(descriptor)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", sync)
    return seen


def test_samples_are_durable_before_the_trial_is_committed(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    with closing(CampaignWriter(tmp_path / "c")) as writer:
        calls.clear()
        writer.append_trial(RECORD, (SAMPLE,))
    assert calls == [
        ("write", "t1.jsonl"),
        ("fsync", "t1.jsonl"),
        ("fsync", "samples"),
        ("write", "trials.jsonl"),
        ("fsync", "trials.jsonl"),
        ("fsync", "c"),  # the file is new
    ]


def test_replacing_is_durable_before_the_rename(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        calls.append(("rename", target.name))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    replace_durably(tmp_path / "x", b"new")
    assert calls == [
        ("write", "x.tmp"),
        ("fsync", "x.tmp"),
        ("rename", "x"),
        ("fsync", tmp_path.name),
    ]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:3]))
    append_durably(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789\n"


def test_a_failed_replacement_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(_descriptor: int, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        replace_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_new_folders_are_synced_in_their_parents(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    make_directory(tmp_path / "a/b")
    assert calls == [("fsync", tmp_path.name), ("fsync", "a")]
