"""Guests that carry out a job, booted directly from the real kernels, without TPM."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import build
from harness.guest.machine.command import Guest
from harness.guest.machine.port import HostPort
from harness.guest.machine.run import Answer, GuestEnd, run_guest

_COMMAND_LINE = "console=ttyS0 quiet panic=-1 rootfstype=ramfs"
_COUNTED = "nokaslr norandmaps nolapic tsc=reliable clocksource=tsc"
_TIMEOUT_S = 120

Boot = Callable[..., GuestEnd]


@pytest.fixture(scope="module")
def kernels() -> build.Kernels:
    return build.build_kernels()


@pytest.fixture
def boot(kernels: build.Kernels, tmp_path: Path) -> Boot:
    """Boots a guest with a job of these lines; ``salt`` counts its instructions."""

    def run(
        *lines: str,
        salt: int | None = None,
        namespaced: bool = False,
        policy: str = "tcb",
        images: tuple[Path, ...] = (),
    ) -> GuestEnd:
        job = "".join(f"{line}\n" for line in lines).encode()
        initrd = tmp_path / "initrd"
        initrd.write_bytes(build.build_initrd({"job": job}))
        words = f"{_COMMAND_LINE} ima_policy={policy}"
        guest = Guest(
            console=tmp_path / "console",
            kernel=kernels.namespaced if namespaced else kernels.stock,
            initrd=initrd,
            command_line=words if salt is None else f"{words} {_COUNTED} attestbench.salt={salt}",
            salt=salt,
            images=images,
            results=tmp_path / "results",
        )
        return run_guest(guest, _TIMEOUT_S)

    return run


@pytest.fixture
def boot_with_port(kernels: build.Kernels, tmp_path: Path) -> Boot:
    """Boots a guest that gets its job over the control port; ``answer`` answers its questions."""

    def run(job: bytes, answer: Answer | None = None) -> GuestEnd:
        initrd = tmp_path / "initrd"
        initrd.write_bytes(build.build_initrd({}))
        with HostPort() as port:
            guest = Guest(
                console=tmp_path / "console",
                kernel=kernels.stock,
                initrd=initrd,
                command_line=f"{_COMMAND_LINE} ima_policy=tcb",
                port=port.guest_end,
            )
            port.send(job, time.monotonic() + _TIMEOUT_S)
            return run_guest(guest, _TIMEOUT_S, port, answer)

    return run
