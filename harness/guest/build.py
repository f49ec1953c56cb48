"""Everything a guest boots from: one function per thing, each with a cache behind it.

All of them raise EnvironmentError_ in one line that says how to go on.
"""

from collections.abc import Mapping
from pathlib import Path

from harness.guest import agent, esp, image, initrd, kernel_build, uki
from harness.guest.cache import Progress, silent
from harness.guest.kernel_build import Kernels

__all__ = [
    "Kernels",
    "build_agent",
    "build_container_images",
    "build_esp",
    "build_image",
    "build_initrd",
    "build_kernels",
    "build_uki",
]


def build_kernels(progress: Progress = silent) -> Kernels:
    """The stock kernel and the one with measurement domains; 18 CPU minutes when not cached."""
    return kernel_build.installed_kernels(progress)


def build_agent() -> Path:
    """The agent's static binary."""
    return agent.build()


def build_initrd(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive: the agent as /init, and files by their path ("job", "policy")."""
    return initrd.archive(build_agent().read_bytes(), files)


def build_uki(kernel: Path, initial: bytes, cmdline: str) -> bytes:
    """A unified kernel image of a bzImage, an initial file system and a command line."""
    return uki.image(kernel, initial, cmdline)


def build_esp(program: bytes) -> Path:
    """A FAT image from which UEFI starts ``program``, a unified kernel image."""
    return esp.build(program)


def build_image(progress: Progress = silent) -> Path:
    """The root file system; half a minute and 50 MB of packages when it isn't cached."""
    return image.root(progress)


def build_container_images() -> dict[str, Path]:
    """Images "a" and "b": the same programs in file systems with other ``fsuuid=``."""
    return image.containers(build_agent())
