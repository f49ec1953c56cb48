"""The pod's end of a launched vTPM."""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

from tpm2_pytss import ESAPI

from harness.framework import attester, wire
from harness.framework.evidence import bundle
from harness.framework.evidence.bundle import LaunchClaims, Quote, TeeEvidence
from harness.framework.tpm import keys
from harness.framework.tpm.keys import TpmKey
from harness.framework.tpm.tcti import StreamTcti

Extras = Callable[[bytes, bytes], tuple[TeeEvidence | None, Quote | None]]


class Launched(NamedTuple):
    """What the service answered to a launch; ``stages_ns``: how long each stage took."""

    certificate: bytes
    chain: tuple[bytes, ...]
    claims: LaunchClaims
    report: TeeEvidence
    stages_ns: dict[str, int]


def decode_launch(answer: dict[str, Any]) -> Launched:
    """Read the service's answer. Raises ``ParseError``."""
    return Launched(
        certificate=answer["ak_certificate"],
        chain=tuple(answer["issuer_chain"]),
        claims=bundle.decode(answer["claims"], LaunchClaims, wire.MAX_FRAME_BYTES),
        report=bundle.decode(answer["report"], TeeEvidence, wire.MAX_FRAME_BYTES),
        stages_ns=dict(answer["stages_ns"]),
    )


class FrameworkPod:
    """A pod whose vTPM is reached through the attested channel; use as a context manager."""

    def __init__(self, stream: socket.socket, launched: Launched, extras: Extras) -> None:
        self._extras = extras
        self._stream = stream
        self.launched = launched
        self.launch_stages_ns = launched.stages_ns
        self.tcti = StreamTcti(stream)
        self.ectx: ESAPI = ESAPI(self.tcti)
        self.ak: TpmKey = keys.persistent_key(self.ectx, keys.AK_HANDLE)

    def attest(
        self,
        nonce: bytes,
        boot_log: bytes,
        ima_log: bytes,
        *,
        observer: Callable[[str], None] | None = None,
    ) -> bytes:
        """Evidence for ``nonce``, in wire form; ``observer`` hears each stage begin."""
        return attester.attest(
            self.ectx, self.ak, nonce, (boot_log, ima_log), partial(self._proofs, nonce), observer
        )

    def _proofs(self, nonce: bytes, attest: bytes) -> dict[str, Any]:
        fresh, deep = self._extras(nonce, attest)
        return {
            "ak_certificate": self.launched.certificate, "issuer_chain": self.launched.chain,
            "launch": self.launched.claims, "launch_report": self.launched.report,
            "fresh_report": fresh, "deep_quote": deep,
        }  # fmt: skip

    def close(self) -> None:
        """Close the connection to the vTPM."""
        self.ectx.close()
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
