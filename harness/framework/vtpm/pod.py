"""The pod's end of a launched vTPM."""

import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

from tpm2_pytss import ESAPI

from harness.framework import attester, wire
from harness.framework.evidence import bundle
from harness.framework.evidence.bundle import ImaPrefix, LaunchClaims, Quote, TeeEvidence
from harness.framework.tee.csv_processor import SoftwareGuest
from harness.framework.tpm import keys
from harness.framework.tpm.keys import TpmKey
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.vtpm.device import TpmDevice

Logs = tuple[bytes, bytes]
Extras = Callable[[bytes, bytes, Logs, ImaPrefix | None], tuple[TeeEvidence | None, Quote | None]]


class Launched(NamedTuple):
    """What the service answered to a launch; ``stages_ns``: how long each stage took."""

    ak_public: bytes
    certificate: bytes
    chain: tuple[bytes, ...]
    claims: LaunchClaims
    report: TeeEvidence
    stages_ns: dict[str, int]


def decode_launch(answer: dict[str, Any]) -> Launched:
    """Read the service's answer. Raises ``ParseError``."""
    return Launched(
        ak_public=answer["ak_public"],
        certificate=answer["ak_certificate"],
        chain=tuple(answer["issuer_chain"]),
        claims=bundle.decode(answer["claims"], LaunchClaims, wire.MAX_FRAME_BYTES),
        report=bundle.decode(answer["report"], TeeEvidence, wire.MAX_FRAME_BYTES),
        stages_ns=dict(answer["stages_ns"]),
    )


def _proofs(launched: Launched) -> dict[str, Any]:
    """The fields of Evidence that a launch gives."""
    return {
        "ak_certificate": launched.certificate, "issuer_chain": launched.chain,
        "launch": launched.claims, "launch_report": launched.report,
    }  # fmt: skip


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
        prefix: ImaPrefix | None = None,
        confirmation_key: bytes | None = None,
    ) -> bytes:
        """Evidence for ``nonce``, in wire form; ``observer`` hears each stage begin.

        With ``prefix``, ``ima_log`` is only what follows it. ``confirmation_key``: see attester.
        """
        logs = (boot_log, ima_log)
        proofs = partial(self._proofs, nonce, logs, prefix)
        return attester.attest(self.ectx, self.ak, nonce, logs, proofs, observer, confirmation_key)

    def _proofs(
        self, nonce: bytes, logs: Logs, prefix: ImaPrefix | None, attest: bytes
    ) -> dict[str, Any]:
        fresh, deep = self._extras(nonce, attest, logs, prefix)
        proofs = {**_proofs(self.launched), "fresh_report": fresh, "deep_quote": deep}
        return {**proofs, "ima_prefix": prefix}

    def close(self) -> None:
        """Close the connection to the vTPM."""
        self.ectx.close()
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DevicePod:
    """A guest whose TPM is a device on ``path``; use as a context manager.

    The guest itself quotes, with the key at ``keys.AK_HANDLE``, and asks for its TEE reports.
    """

    def __init__(
        self, device: TpmDevice, launched: Launched, guest: SoftwareGuest, certificates: bytes
    ) -> None:
        self._guest = guest
        self._certificates = certificates
        self.device = device
        self.path = device.path
        self.launched = launched
        self.launch_stages_ns = launched.stages_ns
        self.ak_public = launched.ak_public

    def report(self, report_data: bytes) -> TeeEvidence:
        """The guest's TEE report over 64 bytes, as its secure processor makes it."""
        page = self._guest.report(report_data, secrets.token_bytes(16))
        return TeeEvidence(tee="csv", report=page, certificates=self._certificates)

    def evidence(
        self,
        nonce: bytes,
        quote: Quote,
        pcr_values: dict[int, bytes],
        boot_log: bytes,
        ima_log: bytes,
        fresh_report: TeeEvidence | None = None,
    ) -> bytes:
        """Evidence in wire form from what the guest sent."""
        proofs = {**_proofs(self.launched), "fresh_report": fresh_report}
        logs = (boot_log, ima_log)
        return attester.assemble(nonce, self.ak_public, quote, pcr_values, logs, proofs)

    def close(self) -> None:
        """Switch the TPM off."""
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
