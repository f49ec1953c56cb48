"""The plain software TPM as QEMU's TPM device: swtpm itself, as QEMU is normally run with it."""

import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Self

from tpm2_pytss import ESAPI

from harness.framework import attester
from harness.framework.errors import FrameworkError
from harness.framework.evidence.bundle import Quote
from harness.framework.lifetime import die_with_parent, end
from harness.framework.tpm import keys
from harness.framework.tpm.keys import AK_HANDLE, AkKind
from harness.framework.tpm.swtpm import Swtpm, is_listening
from harness.framework.tpm.tcti import StreamTcti

_START_TIMEOUT_S = 10.0


class SwtpmDevice:
    """A swtpm in ``directory`` that serves one machine on ``path``; use as a context manager.

    Its endorsement and attestation key are made before and kept at ``EK_HANDLE`` and
    ``AK_HANDLE``; the machine's own start finds every PCR zero. The process ends with the machine.

    Raises ``FrameworkError`` when swtpm is missing or does not start.
    """

    def __init__(self, directory: Path, ak: AkKind) -> None:
        begin = time.perf_counter_ns()
        with Swtpm(directory) as swtpm, swtpm.connect() as stream:
            ectx = ESAPI(StreamTcti(stream))
            try:
                keys.allocate_sha256_bank(ectx)
                manufactured = time.perf_counter_ns()
                keys.create_endorsement_key(ectx)
                endorsed = time.perf_counter_ns()
                parent = keys.create_storage_key(ectx)
                self.ak_public = keys.create_signing_key(ectx, parent.handle, ak, AK_HANDLE).public
            finally:
                ectx.close()
        self.launch_stages_ns = {
            "manufacture": manufactured - begin,
            "endorsement": endorsed - manufactured,
            "ak": time.perf_counter_ns() - endorsed,
        }
        self.path = swtpm.directory / "device.sock"
        self._log = swtpm.directory / "device.log"
        self._process = self._start(swtpm.directory)

    def _start(self, directory: Path) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [
                shutil.which("swtpm") or "swtpm", "socket", "--tpm2",
                "--tpmstate", f"dir={directory}",
                "--ctrl", f"type=unixio,path={self.path}",
                "--flags", "startup-none",
                "--log", f"file={self._log},level=1",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - as in swtpm.py
        )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_listening(self.path):
            if process.poll() is not None or time.monotonic() > deadline:
                end(process, 0)
                said = self._log.read_text(errors="replace")[-200:] if self._log.exists() else ""
                raise FrameworkError(f"swtpm did not start in {directory}: {said.strip()}")
            time.sleep(0.002)
        return process

    @property
    def pid(self) -> int:
        """Process id of the swtpm."""
        return self._process.pid

    def evidence(
        self,
        nonce: bytes,
        quote: Quote,
        pcr_values: dict[int, bytes],
        boot_log: bytes,
        ima_log: bytes,
    ) -> bytes:
        """Evidence without certificates, from what the guest sent: the verifier knows the key."""
        logs = (boot_log, ima_log)
        return attester.assemble(nonce, self.ak_public, quote, pcr_values, logs, {})

    def close(self) -> None:
        """End the swtpm; safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
        end(self._process)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
