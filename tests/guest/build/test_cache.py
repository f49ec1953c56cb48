"""The cache: what is complete counts, what was killed does not, and nobody builds twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.guest import cache
from harness.guest.cache import Recipe, obtain
from harness.model.errors import EnvironmentError_

RECIPE = Recipe("thing", {"source": "1"})

# Builds one thing in a process of its own; notes each time that it really builds.
BUILDER = """
import sys, time
from pathlib import Path
from harness.guest.cache import Recipe, obtain

notes, pause = Path(sys.argv[1]), float(sys.argv[2])

def make(into):
    (into / "half").write_bytes(b"half")
    with notes.open("a") as file:
        file.write("built\\n")
    time.sleep(pause)
    (into / "whole").write_bytes(b"whole")

def say(what, share):
    print(what, flush=True)

print(obtain(Recipe("thing", {"source": "1"}), make, say), flush=True)
"""


class Maker:
    def __init__(self, content: bytes = b"content") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, into: Path) -> None:
        self.calls += 1
        (into / "sub").mkdir()
        (into / "sub" / "file").write_bytes(self.content)


def start_builder(notes: Path, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(notes), str(pause)], stdout=subprocess.PIPE, text=True
    )


def wait_for(path: Path, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} never came"
        time.sleep(0.01)


def test_a_thing_is_built_once(cache_home: Path) -> None:
    make = Maker()
    path = obtain(RECIPE, make)
    assert path == obtain(RECIPE, make)
    assert make.calls == 1
    assert path.parent == cache_home
    assert (path / "sub/file").read_bytes() == b"content"


@pytest.mark.parametrize(
    "other",
    [
        Recipe("other", {"source": "1"}),
        Recipe("thing", {"source": "2"}),
        Recipe("thing", {"sources": "1"}),
        Recipe("thing", {"source": "1"}, revision=2),
    ],
)
def test_every_input_names_another_folder(cache_home: Path, other: Recipe) -> None:
    assert obtain(RECIPE, Maker()) != obtain(other, Maker())


def test_the_order_of_inputs_does_not_matter() -> None:
    assert Recipe("x", {"a": "1", "b": "2"}).entry() == Recipe("x", {"b": "2", "a": "1"}).entry()


def test_a_build_that_fails_leaves_nothing(cache_home: Path) -> None:
    def broken(into: Path) -> None:
        Maker()(into)
        raise EnvironmentError_("no")

    with pytest.raises(EnvironmentError_, match="no"):
        obtain(RECIPE, broken)
    assert [path.suffix for path in cache_home.iterdir()] == [".lock"]
    obtain(RECIPE, Maker())


def test_a_killed_build_leaves_nothing_that_counts(cache_home: Path, tmp_path: Path) -> None:
    builder = start_builder(tmp_path / "notes", 60)
    wait_for(tmp_path / "notes")
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert cache.entries() == []
    assert list(cache_home.glob(".thing-*"))  # half of it is still there
    make = Maker()
    path = obtain(RECIPE, make)
    assert make.calls == 1
    assert not (path / "half").exists()
    assert not list(cache_home.glob(".thing-*"))


def test_two_processes_build_once(cache_home: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    first = start_builder(notes, 1.0)
    wait_for(notes)
    second = start_builder(notes, 1.0)
    said = [process.communicate(timeout=30)[0].splitlines() for process in (first, second)]
    assert notes.read_text() == "built\n"
    assert said[0][-1] == said[1][-1]
    assert said[1][0] == "waiting for another process that builds the same"


def test_a_cut_file_is_built_again(cache_home: Path) -> None:
    path = obtain(RECIPE, Maker())
    os.truncate(path / "sub/file", 3)
    make = Maker()
    assert obtain(RECIPE, make) == path
    assert make.calls == 1
    assert (path / "sub/file").read_bytes() == b"content"


def test_a_folder_without_a_manifest_is_built_again(cache_home: Path) -> None:
    path = obtain(RECIPE, Maker())
    (path / "manifest.json").write_text("{")
    make = Maker()
    obtain(RECIPE, make)
    assert make.calls == 1


def test_entries_tell_inputs_files_and_damage(cache_home: Path) -> None:
    path = obtain(RECIPE, Maker())
    [entry] = cache.entries()
    assert entry.inputs == {"source": "1"}
    assert entry.files["sub/file"].size == 7
    assert entry.damaged() == []
    (path / "sub/file").write_bytes(b"CONTENT")
    assert entry.holds()
    assert entry.damaged() == ["sub/file"]


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentError_, match=r"Not a directory; free space there or set XDG_"):
        obtain(RECIPE, Maker())


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache.folder() == Path.home() / ".cache/attestbench/guest"
