"""The vTPM service as its own isolated process tree, through an OCI runtime where one works.

The container sees the interpreter and this package read-only, its state directory, and nothing
else of the host: no network, no capabilities, an allow-list of system calls.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.framework.errors import FrameworkError
from harness.framework.lifetime import end

_RUNTIMES = ("crun", "runc")
_PROBE_TIMEOUT_S = 15
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
# What CPython, OpenSSL, libtpms and the service's own fork and descriptor passing use.
_SYSTEM_CALLS = """
    accept accept4 access arch_prctl brk capget capset chdir clock_getres clock_gettime
    clock_nanosleep clone clone3 close close_range connect dup dup2 dup3 epoll_create1 epoll_ctl
    epoll_pwait epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fadvise64 fchdir
    fchmod fcntl fdatasync flock fork fstat fstatfs fsync ftruncate futex getcwd getdents64
    getegid geteuid getgid getgroups getpeername getpgrp getpid getppid getrandom getresgid
    getresuid getrlimit getrusage getsockname getsockopt gettid gettimeofday getuid ioctl kill
    lseek lstat madvise memfd_create mkdir mkdirat mmap mprotect mremap munmap nanosleep
    newfstatat open openat pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 pwrite64 read
    readlink readlinkat readv recvfrom recvmsg rename renameat renameat2 restart_syscall rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    sched_getaffinity sched_yield select sendmsg sendto set_robust_list set_tid_address setgid
    setgroups setitimer setpgid setresgid setresuid setsid setsockopt setuid shutdown
    sigaltstack socketpair stat statfs statx sysinfo tgkill umask uname unlink unlinkat vfork
    wait4 waitid write writev
""".split()  # noqa: SIM905 - a list of quoted words would hide the words


@dataclass(frozen=True)
class Isolation:
    """What keeps the service apart; ``runtime`` is an OCI runtime's name or None."""

    runtime: str | None

    def __str__(self) -> str:
        if self.runtime is None:
            return "none: no OCI runtime starts a container here; a plain child process"
        return f"{self.runtime}: {', '.join(NAMESPACES)} namespaces, no capabilities, seccomp"


@cache
def available() -> Isolation:
    """The first OCI runtime that really starts a container on this machine."""
    for name in _RUNTIMES:
        if shutil.which(name) and _starts(name):
            return Isolation(name)
    return Isolation(None)


def _starts(runtime: str) -> bool:
    bundle = Path(os.environ.get("TMPDIR", "/tmp")) / f"attestbench-{secrets.token_hex(6)}"  # noqa: S108
    try:
        _write_bundle(bundle, [sys.executable, "-c", "pass"], ())
        done = subprocess.run(
            [runtime, "run", "--bundle", str(bundle), bundle.name],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
    return done.returncode == 0


class Container:
    """A running service process with ``descriptors`` as its file descriptors 3, 4, …"""

    def __init__(
        self,
        isolation: Isolation,
        directory: Path,
        module: str,
        arguments: list[str],
        state: Path,
        descriptors: list[int],
    ) -> None:
        self._isolation = isolation
        self._name = f"attestbench-{secrets.token_hex(6)}"
        self._directory = directory
        self._log = directory / "service.log"
        command = [sys.executable, "-m", module, *arguments]
        if isolation.runtime is not None:
            _write_bundle(directory / "bundle", command, (state,))
            command = [
                isolation.runtime, "--root", str(directory / "oci"), "run",
                "--bundle", str(directory / "bundle"),
                "--preserve-fds", str(len(descriptors)), self._name,
            ]  # fmt: skip
        self._process = _start(command, descriptors, self._log)

    def log_tail(self) -> str:
        """The last line that the service or its runtime wrote."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End the whole process tree."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            end(self._process)
        if self._isolation.runtime is not None:
            subprocess.run(
                [
                    self._isolation.runtime, "--root", str(self._directory / "oci"),
                    "delete", "--force", self._name,
                ],
                stdin=subprocess.DEVNULL, capture_output=True, check=False,
                timeout=_PROBE_TIMEOUT_S,
            )  # fmt: skip


def _start(command: list[str], descriptors: list[int], log: Path) -> subprocess.Popen[bytes]:
    """Start ``command`` with ``descriptors`` moved to 3, 4, …"""
    high = [os.dup(descriptor) for descriptor in descriptors]
    script = (
        "import os,sys;n=int(sys.argv[1]);f=list(map(int,sys.argv[2:2+n]));"
        "t=[os.dup(x) for x in f];m=max(t)+1+n;"
        "t=[os.dup2(x,m+i,inheritable=True) for i,x in enumerate(t)];"
        "[os.dup2(x,3+i,inheritable=True) for i,x in enumerate(t)];"
        "os.closerange(3+n,m+n+64);os.execvp(sys.argv[2+n],sys.argv[2+n:])"
    )
    try:
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-c", script, str(len(high)), *map(str, high), *command],
                pass_fds=high, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "PYTHONPATH": str(_package_root())},
            )  # fmt: skip
    except OSError as error:
        raise FrameworkError(f"{command[0]}: cannot be started: {error}") from error
    finally:
        for descriptor in high:
            os.close(descriptor)


def _package_root() -> Path:
    return Path(__file__).resolve().parents[3]


def _write_bundle(bundle: Path, command: list[str], writable: tuple[Path, ...]) -> None:
    """An OCI bundle (runtime specification 1.0) whose root holds only bind mounts."""
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(_config(command, writable)))


def _config(command: list[str], writable: tuple[Path, ...]) -> dict[str, Any]:
    nothing: dict[str, list[str]] = {
        kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": os.getuid(), "gid": os.getgid()},
            "args": command,
            "env": [f"PYTHONPATH={_package_root()}", "PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8"],
            "cwd": "/",
            "capabilities": nothing,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "vtpm",
        "mounts": _mounts(writable),
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": sorted(_SYSTEM_CALLS), "action": "SCMP_ACT_ALLOW"}],
            },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"],
            "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/irq"],
        },
    }


def _mounts(writable: tuple[Path, ...]) -> list[dict[str, Any]]:
    system = [
        Path(name) for name in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/ssl")
    ]
    own = {Path(sys.prefix), Path(sys.base_prefix), _package_root() / "harness"}
    readable = sorted(
        path for path in {*system, *own} if path.exists() and Path("/usr") not in path.parents
    )
    flags = ["rbind", "nosuid", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64k"],
        },
        {
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",  # noqa: S108
            "options": ["nosuid", "nodev", "size=16m"],
        },
        *(
            {
                "destination": str(path), "type": "bind", "source": str(path.resolve()),
                "options": [*flags, "ro"],
            }
            for path in readable
        ),
        *(
            {
                "destination": str(path), "type": "bind", "source": str(path),
                "options": [*flags, "noexec", "rw"],
            }
            for path in writable
        ),
    ]  # fmt: skip
