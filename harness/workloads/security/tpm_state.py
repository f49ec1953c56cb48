"""State of vTPMs: set back, cloned, restarted (rows T14 and T30)."""

import secrets
import shutil
from pathlib import Path
from typing import Self

import msgspec
from tpm2_pytss import ESAPI

from harness.framework import attester
from harness.framework.evidence.bundle import decode_evidence
from harness.framework.evidence.quote import parse_quote
from harness.framework.tpm import keys
from harness.framework.tpm.swtpm import Swtpm
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.verify import Policy, Previous
from harness.framework.vtpm.state import EncryptedState
from harness.workloads.attestation import extend_logs, reference_values
from harness.workloads.security.logs import exchanged
from harness.workloads.security.registry import Attempted, Mounted, Presented, attack
from harness.workloads.security.world import Logs, World
from harness.workloads.software_tpm import SoftwareTpmPod


@attack("T14", "state-files-set-back", "deployment")
def files_set_back(world: World) -> Mounted:
    """The host puts an older file of a vTPM's encrypted state back in its place."""
    folder = world.folder("t14-files")
    state = EncryptedState(folder, "pod", secrets.token_bytes(32))
    state["permall"] = b"older"
    file = folder / "permall.enc"
    older = file.read_bytes()
    state["permall"] = b"newer"
    newer = file.read_bytes()

    def read(content: bytes) -> Attempted:
        def act() -> bytes:
            file.write_bytes(content)
            return state["permall"]

        return Attempted("state", act)

    return Mounted(read(older), read(newer))


@attack("T14", "state-of-another-instance", "deployment")
def state_of_another_instance(world: World) -> Mounted:
    """The host swaps the states of two vTPMs of one service."""
    key = secrets.token_bytes(32)
    folders = [world.folder(f"t14-{name}") for name in ("a", "b")]
    states = [EncryptedState(folder, folder.name, key) for folder in folders]
    for state in states:
        state["permall"] = state["savestate"] = b"a TPM"
    shutil.copy(folders[0] / "permall.enc", folders[1] / "permall.enc")
    # A service that starts anew remembers no writes: the label alone must tell them apart.
    again = EncryptedState(folders[1], folders[1].name, key)
    return Mounted(
        Attempted("state", lambda: again["permall"]),
        Attempted("state", lambda: again["savestate"]),
    )


@attack("T30", "state-in-another-service", "deployment")
def state_in_another_service(world: World) -> Mounted:
    """The running vTPM's state files are copied to a second service, which has a key of its own."""
    folder, name = world.folder("t30-clone"), world.pod.launched.claims.instance
    for file in (world.workdir / "d" / "state" / name).glob("*.enc"):
        shutil.copy(file, folder / file.name)
    clone = EncryptedState(folder, name, secrets.token_bytes(32))
    return Mounted(
        Attempted("state", lambda: clone["permall"]),
        Attempted("state", lambda: world.pod.ectx.get_random(8)),
    )


class _Boot:
    """One power-on of a plain software TPM over the state in a folder."""

    def __init__(self, folder: Path, logs: Logs) -> None:
        self._folder, self._logs = folder, logs

    def __enter__(self) -> Self:
        self._tpm = Swtpm(self._folder).start()
        self._stream = self._tpm.connect()
        self._tcti = StreamTcti(self._stream)
        self._ectx = ESAPI(self._tcti)
        return self

    def __exit__(self, *_: object) -> None:
        self._ectx.close()
        self._stream.close()
        self._tpm.stop()

    def measured(self) -> Self:
        """After the guest has booted."""
        extend_logs(self._tcti, *self._logs)
        return self

    def attest(self, nonce: bytes) -> bytes:
        """Evidence with the logs, whatever was measured."""
        boot, ima = self._logs
        ak = keys.persistent_key(self._ectx, keys.AK_HANDLE)
        return attester.attest(self._ectx, ak, nonce, (boot.log, ima.binary), lambda _quote: {})


class _SoftwareTpm:
    """A software TPM that the host can copy and set back: the baseline, without the framework."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.folder = world, world.workdir / name
        pod = SoftwareTpmPod(self.folder, "ecc256")
        measured = reference_values(*world.logs)
        self.policy = Policy(
            scheme="allow-list", accepted_ak_names=(pod.ak.name,),
            boot=measured.boot, ima=measured.ima, accept_reset=True,
        )  # fmt: skip
        pod.close()

    def boot(self, folder: Path | None = None) -> _Boot:
        """Switch it on, or a copy in another folder."""
        return _Boot(folder or self.folder, self.world.logs)

    def snapshot(self, name: str) -> Path:
        """A copy of its state."""
        copy = self.world.workdir / name
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("*.sock*", ".lock"))
        return copy

    def presented(self, evidence: bytes, previous: Previous | None = None) -> Presented:
        """Evidence for a verifier that has accepted ``previous``."""
        challenge = self.world.challenge(previous=previous)
        return self.world.presented(evidence, self.policy, challenge)


@attack("T14", "older-tpm-state-restored", "deployment")
def older_state_restored(world: World) -> Mounted:
    """A software TPM is started from a state that is two boots old."""
    tpm = _SoftwareTpm(world, "t14-tpm")
    old = tpm.snapshot("t14-old")
    for _ in range(2):
        with tpm.boot() as boot:
            evidence = boot.measured().attest(world.nonce)
    previous = world.accepted_state(tpm.presented(evidence))
    with tpm.boot(old) as boot:
        restored = boot.measured().attest(world.nonce)
    with tpm.boot() as boot:
        honest = boot.measured().attest(world.nonce)
    return Mounted(tpm.presented(restored, previous), tpm.presented(honest, previous))


def _strictly_after(tpm: _SoftwareTpm, first: bytes, second: bytes) -> Mounted:
    """``second`` under a policy by which a TPM lives once, beside one by which it may be reset."""
    previous = tpm.world.accepted_state(tpm.presented(first))
    again = tpm.presented(second, previous)
    strict = msgspec.structs.replace(tpm.policy, accept_reset=False)
    return Mounted(again._replace(policy=strict), again)


@attack("T14", "restarted-and-told-again", "deployment")
def restarted_and_told_again(world: World) -> Mounted:
    """The TPM is switched off and on, and told again what had been measured."""
    tpm = _SoftwareTpm(world, "t14-again")
    evidence = []
    for _ in range(2):
        with tpm.boot() as boot:
            evidence.append(boot.measured().attest(world.nonce))
    return _strictly_after(tpm, evidence[0], evidence[1])


@attack("T14", "rebooted-where-none-may-be", "deployment")
def rebooted(world: World) -> Mounted:
    """TPM and guest are started anew, and measure the same files in another order."""
    tpm = _SoftwareTpm(world, "t14-reboot")
    with tpm.boot() as boot:
        first = boot.measured().attest(world.nonce)
    boot_log, ima = world.logs
    with _Boot(tpm.folder, (boot_log, exchanged(ima))) as boot:
        second = boot.measured().attest(world.nonce)
    return _strictly_after(tpm, first, second)


@attack("T14", "restarted-under-a-running-guest", "deployment")
def restarted(world: World) -> Mounted:
    """The TPM is switched off and on while the guest goes on with the logs that it has."""
    tpm = _SoftwareTpm(world, "t14-restart")
    with tpm.boot() as boot:
        honest = tpm.presented(boot.measured().attest(world.nonce))
    with tpm.boot() as boot:
        restarted_evidence = boot.attest(world.nonce)
    previous = world.accepted_state(honest)
    return Mounted(tpm.presented(restarted_evidence, previous), honest)


@attack("T30", "clone-attests-too", "deployment")
def clone_attests(world: World) -> Mounted:
    """Original and clone run at once; the one whose clock is behind is refused."""
    tpm = _SoftwareTpm(world, "t30-tpm")
    copy = tpm.snapshot("t30-copy")
    with tpm.boot(copy) as clone:
        cloned = clone.measured().attest(world.nonce)
    with tpm.boot() as original:
        original.measured()
        evidence = original.attest(world.nonce)
        while _clock(evidence) <= _clock(cloned):
            evidence = original.attest(world.nonce)
        previous = world.accepted_state(tpm.presented(evidence))
        later = original.attest(world.nonce)
    return Mounted(tpm.presented(cloned, previous), tpm.presented(later, previous))


@attack("T30", "clone-with-a-list-of-its-own", "deployment")
def clone_with_its_own_list(world: World) -> Mounted:
    """The clone is ahead of the original, but what it measured isn't what was accepted."""
    tpm = _SoftwareTpm(world, "t30-list")
    copy = tpm.snapshot("t30-list-copy")
    with tpm.boot() as original:
        evidence = original.measured().attest(world.nonce)
        previous = world.accepted_state(tpm.presented(evidence))
        later = original.attest(world.nonce)
    boot_log, ima = world.logs
    with _Boot(copy, (boot_log, exchanged(ima))) as clone:
        cloned = clone.measured().attest(world.nonce)
        while _clock(cloned) <= _clock(evidence):
            cloned = clone.attest(world.nonce)
    return Mounted(tpm.presented(cloned, previous), tpm.presented(later, previous))


def _clock(evidence: bytes) -> tuple[int, int]:
    info = parse_quote(decode_evidence(evidence).quote.attest)
    return info.reset_count, info.clock
