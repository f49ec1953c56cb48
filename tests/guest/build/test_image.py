"""The guests' file systems: what is in them, and that they come out the same."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.guest import image
from harness.guest.build import build_agent, build_container_images, build_image
from harness.guest.selection import select
from harness.model.errors import EnvironmentError_

PROGRAMS: tuple[str, ...] = (
    "ab",
    "busybox",
    "crun",
    "redis-benchmark",
    "redis-cli",
    "redis-server",
    "sh",
    "sqlite3",
)
PROGRAMS += ("tcc", "tpm2", "tpm2_quote")


def extracted(erofs: Path, folder: Path) -> Path:
    subprocess.run(["fsck.erofs", f"--extract={folder}", erofs], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracted(build_image(), tmp_path_factory.mktemp("image") / "root")


def in_image(root: Path, *command: str) -> str:
    """Output of a program of the image with the image's own libraries; needs no root."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    loader = libraries / "ld-linux-x86-64.so.2"
    program = root / "usr" / command[0]
    done = subprocess.run(
        [loader, "--library-path", libraries, program, *command[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_programs_are_there(root: Path) -> None:
    missing = [name for name in PROGRAMS if not (root / "usr/bin" / name).exists()]
    assert missing == []
    assert (root / "usr/sbin/lighttpd").exists()
    assert (root / "bin/sh").exists()
    for folder in ("proc", "sys", "dev", "run", "tmp", "data"):
        assert list((root / folder).iterdir()) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("bin/sqlite3", ":memory:", "select 6 * 7"), "42"),
        (("bin/redis-server", "--version"), "Redis server"),
        (("bin/redis-benchmark", "--version"), "redis-benchmark"),
        (("bin/ab", "-V"), "ApacheBench"),
        (("sbin/lighttpd", "-v"), "lighttpd"),
        (("bin/tpm2", "getrandom", "--version"), "tcti-default=tcti-device"),
    ],
)
def test_a_program_runs_with_the_libraries_of_the_image(
    root: Path, command: tuple[str, ...], said: str
) -> None:
    assert said in in_image(root, *command)


def test_the_compiler_compiles_against_the_image(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("#include <stdio.h>\n#include <errno.h>\nint main(void) { return EINTR; }\n")
    usr = root / "usr"
    includes = [f"-I{usr}/include", f"-I{usr}/include/x86_64-linux-gnu"]
    library = f"-B{usr}/lib/x86_64-linux-gnu/tcc"
    in_image(root, "bin/tcc", library, *includes, "-c", "-o", f"{tmp_path}/main.o", str(source))
    assert (tmp_path / "main.o").read_bytes().startswith(b"\x7fELF")


def test_the_image_tells_the_versions_in_it() -> None:
    lines = (build_image().parent / "packages.txt").read_text().splitlines()
    named = {line.split()[0] for line in lines}
    assert set(image.PACKAGES) <= named
    assert lines == sorted(lines)


def test_the_container_images_differ_in_their_uuid_alone(tmp_path: Path) -> None:
    paths = build_container_images()
    trees = {name: extracted(path, tmp_path / name) for name, path in paths.items()}
    for name, path in paths.items():
        shown = subprocess.run(
            ["dump.erofs", "-s", path], capture_output=True, text=True, check=True
        ).stdout
        assert image.CONTAINER_UUIDS[name] in shown
    subprocess.run(["diff", "-r", trees["a"], trees["b"]], check=True)
    agent = build_agent().read_bytes()
    programs = {path.name: path.read_bytes() for path in (trees["a"] / "bin").iterdir()}
    assert programs.pop("agent") == agent
    assert len(set(programs.values())) == 3
    assert all(content.startswith(agent) for content in programs.values())


def test_an_image_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    files = {"b/two": b"2" * 5000, "a/one": b"1", "b/three": b"3"}
    written = []
    for number, names in enumerate([list(files), list(reversed(files))]):
        tree = tmp_path / f"tree{number}"
        for name in names:
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
            path.chmod(0o644)
            path.parent.chmod(0o700 + number)
            os.utime(path, (number, 1000 * number))
        (tree / "link").symlink_to("a/one")
        image.write_erofs(tree, tmp_path / f"{number}.erofs", image.ROOT_UUID)
        written.append((tmp_path / f"{number}.erofs").read_bytes())
    assert written[0] == written[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/lib").mkdir()
    (folder / "lib").symlink_to("usr/lib")
    (folder / "usr/lib/data").write_text("data")
    (folder / "usr/bin/tool").write_text("#!/bin/sh\n")
    return folder


def test_a_link_brings_what_it_points_to(tree: Path, tmp_path: Path) -> None:
    (tree / "usr/bin/first").symlink_to("second")
    (tree / "usr/bin/second").symlink_to("/lib/data")
    select(tree, ["usr/bin/first"], tmp_path / "out")
    copied = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert {"usr/bin/first", "usr/bin/second", "usr/lib/data"} <= copied
    assert "usr/bin/tool" not in copied


@pytest.mark.parametrize("target", ["nothing", "/etc/passwd", "../../../outside"])
def test_a_link_out_of_the_tree_is_refused(tree: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    (tree / "usr/bin/link").symlink_to(target)
    with pytest.raises(EnvironmentError_, match="usr/bin/link points to nothing"):
        select(tree, ["usr/bin/link"], tmp_path / "out")


def test_a_library_that_no_package_has(tree: Path, tmp_path: Path) -> None:
    (tree / "usr/bin/program").write_bytes(Path("/bin/sh").read_bytes())
    with pytest.raises(EnvironmentError_, match=r"program needs libc\.so\.6, which no package has"):
        select(tree, ["usr/bin/program"], tmp_path / "out")


def test_a_pattern_without_a_file(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="no package has usr/bin/none"):
        select(tree, ["usr/bin/none"], tmp_path / "out")
