"""A swtpm process: the hardware TPM's stand-in, and the plain software TPM of the baseline."""

import os
import shutil
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Self

from tpm2_pytss import ESAPI, TPM2_SU

from harness.framework.errors import FrameworkError
from harness.framework.lifetime import die_with_parent, end
from harness.framework.tpm.tcti import StreamTcti, bound_waiting

_START_TIMEOUT_S = 10.0
# Of /proc/net/unix: the fourth column, where __SO_ACCEPTCON is set.
_FLAGS, _ACCEPTS = 3, "00010000"
_MAX_SOCKET_PATH = 100


def _key_option(key_file: Path) -> str:
    return f"file={key_file},mode=aes-256-cbc,format=hex"


class Swtpm:
    """Runs ``swtpm socket`` on unix sockets in ``directory``, which also holds its state.

    ``key_file`` (32 bytes in hex) encrypts the state: it stands for the chip that a hardware
    TPM's keys never leave.

    Raises ``FrameworkError`` when swtpm is missing or does not answer.
    """

    def __init__(self, directory: Path, key_file: Path | None = None) -> None:
        self._key_file = key_file
        self.directory = directory.resolve()
        self.socket_path = self.directory / "tpm.sock"
        self._process: subprocess.Popen[bytes] | None = None
        if len(str(self.socket_path)) > _MAX_SOCKET_PATH:
            raise FrameworkError(
                f"{self.socket_path}: longer than the {_MAX_SOCKET_PATH} bytes of a unix socket;"
                " use a shorter folder (TMPDIR)"
            )

    @property
    def pid(self) -> int:
        """Process id of the running swtpm."""
        if self._process is None:
            raise FrameworkError("swtpm is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start swtpm and return once its socket accepts connections."""
        program = shutil.which("swtpm")
        if program is None:
            raise FrameworkError("swtpm is not installed; run `make setup` or install swtpm")
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "swtpm.log"
        self._process = subprocess.Popen(
            [
                program, "socket", "--tpm2",
                "--tpmstate", f"dir={self.directory}",
                "--server", f"type=unixio,path={self.socket_path}",
                "--ctrl", f"type=unixio,path={self.socket_path}.ctrl",
                "--flags", "not-need-init,startup-clear",
                "--log", f"file={log},level=1",
                *([] if self._key_file is None else ["--key", _key_option(self._key_file)]),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - no other threads yet
        )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_listening(self.socket_path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-200:].strip() if log.exists() else ""
                raise FrameworkError(f"swtpm did not start in {self.directory}: {tail}")
            time.sleep(0.002)
        return self

    def connect(self) -> socket.socket:
        """The data connection; swtpm serves one at a time."""
        stream = socket.socket(socket.AF_UNIX)
        bound_waiting(stream)
        try:
            stream.connect(str(self.socket_path))
        except OSError as error:
            stream.close()
            raise FrameworkError(f"{self.socket_path}: cannot reach swtpm: {error}") from error
        return stream

    def stop(self) -> None:
        """Shut the TPM down in order (else dictionary-attack counters rise) and end the process."""
        if self._process is None:
            return
        if self._process.poll() is None:
            try:
                with self.connect() as stream:
                    stream.settimeout(2.0)
                    ectx = ESAPI(StreamTcti(stream))
                    ectx.shutdown(TPM2_SU.CLEAR)
                    ectx.close()
            except Exception:  # noqa: S110 - the process is ended below in any case
                pass
            self._process.terminate()
        end(self._process)
        self._process = None
        for name in ("tpm.sock", "tpm.sock.ctrl"):
            (self.directory / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def is_listening(path: Path) -> bool:
    """Whether connections to a unix socket are taken, which its existence doesn't say.

    Read from the kernel: swtpm would take a connection that only tries for its machine's.
    """
    sockets = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    return any(
        line.endswith(f" {path}") and line.split()[_FLAGS] == _ACCEPTS for line in sockets[1:]
    )
