"""The baseline's pod: a plain swtpm on the host that makes its own keys."""

import time
from collections.abc import Callable
from pathlib import Path

from tpm2_pytss import ESAPI

from harness.framework import attester
from harness.framework.tpm import keys
from harness.framework.tpm.keys import AK_HANDLE, AkKind
from harness.framework.tpm.swtpm import Swtpm
from harness.framework.tpm.tcti import StreamTcti


class SoftwareTpmPod:
    """Starts a swtpm in ``directory`` with a fresh endorsement and attestation key.

    ``launch_stages_ns`` has the stages that a plain TPM shares with the framework's launch.
    """

    def __init__(self, directory: Path, ak: AkKind) -> None:
        begin = time.perf_counter_ns()
        self._swtpm = Swtpm(directory).start()
        try:
            self._stream = self._swtpm.connect()
            self.tcti = StreamTcti(self._stream)
            self.ectx = ESAPI(self.tcti)
            manufactured = time.perf_counter_ns()
            keys.create_endorsement_key(self.ectx)
            endorsed = time.perf_counter_ns()
            parent = keys.create_storage_key(self.ectx)
            self.ak = keys.create_signing_key(self.ectx, parent.handle, ak, AK_HANDLE)
        except BaseException:
            self._swtpm.stop()
            raise
        self.launch_stages_ns = {
            "manufacture": manufactured - begin,
            "endorsement": endorsed - manufactured,
            "ak": time.perf_counter_ns() - endorsed,
        }

    @property
    def pid(self) -> int:
        """Process id of the swtpm."""
        return self._swtpm.pid

    def attest(
        self,
        nonce: bytes,
        boot_log: bytes,
        ima_log: bytes,
        *,
        observer: Callable[[str], None] | None = None,
    ) -> bytes:
        """Evidence without certificates: the verifier knows the key."""
        return attester.attest(
            self.ectx, self.ak, nonce, (boot_log, ima_log), lambda _quote: {}, observer
        )

    def close(self) -> None:
        """End the swtpm; safe to call twice."""
        self._stream.close()
        self._swtpm.stop()
