"""Builds the guest's agent, the first process of every guest: one static binary from C."""

from pathlib import Path

from harness.guest.cache import Recipe, digest_of, obtain
from harness.guest.tools import require, run
from harness.model.errors import EnvironmentError_

SOURCES = Path(__file__).parent / "agent"
_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-static",
    "-s",
    "-Wl,--build-id=none",
    # musl brings no kernel headers; the distribution's come after everything of musl's own.
    "-idirafter/usr/include",
    "-idirafter/usr/include/x86_64-linux-gnu",
)


def build(sources: Path = SOURCES) -> Path:
    """The agent's binary, from the cache or compiled into it.

    Raises EnvironmentError_ with the compiler's first error.
    """
    require("the guest agent", "musl-gcc")
    files = sorted([*sources.glob("*.c"), *sources.glob("*.h")])
    if not any(file.suffix == ".c" for file in files):
        raise EnvironmentError_(f"the guest agent has no source in {sources}; install it again")
    version = run("the guest agent", ["musl-gcc", "--version"]).splitlines()[0]
    contents = {file.name: digest_of(file) for file in files}
    recipe = Recipe("agent", {"compiler": version, "flags": " ".join(_FLAGS), **contents})
    return obtain(recipe, lambda into: _compile(files, into / "agent")) / "agent"


def _compile(files: list[Path], binary: Path) -> None:
    units = [file.name for file in files if file.suffix == ".c"]
    # Names without a folder: none of this machine's paths gets into the binary.
    command: list[str | Path] = ["musl-gcc", *_FLAGS, "-o", binary, *units]
    run("the guest agent", command, cwd=files[0].parent)
