"""What the verifier's benchmark judges: evidence of software TPMs, and the same for Keylime."""

import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.evidence import bundle, quote, tpm_public
from harness.framework.evidence.bundle import Evidence
from harness.framework.evidence.ima_log import parse_entry
from harness.framework.tpm.keys import AkKind
from harness.framework.verify import Policy
from harness.workloads.arms import BASELINE_KIND, ArmSession, start_arm
from harness.workloads.attestation import extend_logs, reference_values
from harness.workloads.logs import ImaLog, boot_event_log, ima_log

NONCE = bytes(range(32))
ARMS = (BASELINE_KIND, "framework")
_SEED = 20251101
_PCRS_IN_A_BLOB = 8  # TPM2B_DIGEST in a TPML_DIGEST, as the C structure lays them out


class Case(NamedTuple):
    """Evidence for NONCE that ``policy`` accepts."""

    wire: bytes
    policy: Policy

    @property
    def evidence(self) -> Evidence:
        """Decoded."""
        return bundle.decode_evidence(self.wire)


@contextmanager
def arms() -> Iterator[dict[str, ArmSession]]:
    """The baseline's TPMs and the framework's, on a host that is provisioned for it."""
    from harness.framework.host.platform import HostPlatform

    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
        HostPlatform.provision(work / "host")
        found = {}
        for number, kind in enumerate(ARMS):
            folder = work / str(number)
            folder.mkdir()
            found[kind] = stack.enter_context(start_arm(kind, work / "host", folder))
        yield found


def case(arm: ArmSession, entries: int, ak: AkKind = "ecc256") -> Case:
    """A new pod that measured ``entries`` into its TPM and answers NONCE."""
    boot, ima = boot_event_log(_SEED), list_of(entries)
    pod = arm.open(f"pod-{ak}-{entries}", ak)
    extend_logs(pod.tcti, boot, ima)
    wire = pod.attest(NONCE, boot.log, ima.binary)
    return Case(wire, arm.policy(reference_values(boot, ima)))


def list_of(entries: int) -> ImaLog:
    """The IMA list that :func:`case` measures."""
    return ima_log(entries, _SEED)


def write_for_keylime(directory: Path, entries: int, known: int, quotes: dict[str, Case]) -> None:
    """The list, a runtime policy that allows exactly its files, and quotes, as Keylime has them.

    ``known`` entries were attested before.
    """
    log, at, lines, digests = list_of(entries), 0, [], {}
    pcr10, known_pcr10 = bytes(32), b""
    while at < len(log.binary):
        begin = at
        entry, at = parse_entry(log.binary, at)
        sha1, file = log.binary[begin + 4 : begin + 24].hex(), entry.digest.hex()
        lines.append(f"10 {sha1} ima-ng sha256:{file} {entry.path}\n")
        digests[entry.path] = [file]
        pcr10 = hashlib.sha256(pcr10 + entry.extended).digest()
        if len(lines) == known:
            known_pcr10 = pcr10
    policy = {
        "meta": {"version": 1}, "release": 0, "digests": digests, "excludes": [], "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": None},
        "ima-buf": {}, "verification-keys": "",
    }  # fmt: skip
    facts = {
        "pcr10": pcr10.hex(),
        "known_entries": known,
        "known_pcr10": known_pcr10.hex(),
        "quotes": {kind: _quote(each.evidence) for kind, each in quotes.items()},
    }
    (directory / "ima.ascii").write_text("".join(lines))
    (directory / "keylime-policy.json").write_text(json.dumps(policy))
    (directory / "keylime.json").write_text(json.dumps(facts))


def _quote(evidence: Evidence) -> dict[str, str]:
    key = tpm_public.parse_public(evidence.ak_public).key
    parts = {
        "pem": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "nonce": quote.parse_quote(evidence.quote.attest).extra_data,
        "signature": evidence.quote.signature,
        "attest": evidence.quote.attest,
        "pcrs": _pcr_blob(evidence.pcr_values),
    }
    return {name: value.hex() for name, value in parts.items()}


def _pcr_blob(values: dict[int, bytes]) -> bytes:
    """TPML_PCR_SELECTION and the TPML_DIGESTs as tpm2_quote writes them: C structures."""
    mask = sum(1 << pcr for pcr in values).to_bytes(3, "little")
    blob = struct.pack("<IHB3s2x", 1, tpm_public.ALG_SHA256, 3, mask) + bytes(8 * 15)
    ordered = [values[pcr] for pcr in sorted(values)]
    starts = range(0, len(ordered), _PCRS_IN_A_BLOB)
    blob += struct.pack("<I", len(starts))
    for start in starts:
        part = ordered[start : start + _PCRS_IN_A_BLOB]
        blob += struct.pack("<I", len(part))
        padded = [*part, *[b""] * (_PCRS_IN_A_BLOB - len(part))]
        blob += b"".join(struct.pack("<H64s", len(value), value) for value in padded)
    return blob
