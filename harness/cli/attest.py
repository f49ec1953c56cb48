"""`attestbench attest`: the framework by hand, without the harness."""

import contextlib
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.cli.common import json_option, print_json
from harness.framework import wire
from harness.framework.deployment import Deployment, HostPlatform
from harness.framework.errors import FrameworkError, PolicyError
from harness.framework.hardware_tpm.hardware_tpm import Issuer
from harness.framework.tpm.keys import AkKind
from harness.framework.tpm.tcti import read_message
from harness.framework.verify import Challenge, load_policy, verify
from harness.framework.verify.ear import ear_claims, sign_ear
from harness.framework.verify.policy import encode_policy
from harness.model.errors import EnvironmentError_, InputError, RejectedError
from harness.workloads.by_hand import PodHost, policy_for

_NONCE_BYTES = 32
_MAX_FILE_BYTES = 32 * 1024 * 1024
_FOLDER = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
_INSTANCE = click.option("--instance", default="pod-0", show_default=True, help="Which pod.")


@click.group()
def attest() -> None:
    """Provision a host, run its vTPMs, attest a pod, verify its evidence.

    \b
    attestbench attest provision DIR
    attestbench attest host DIR               # in one terminal
    attestbench attest attest DIR --nonce HEX --out evidence.cbor
    attestbench attest verify evidence.cbor --policy DIR/policy.json --nonce HEX
    tpm2_getcap -T "cmd:attestbench attest tcti DIR" properties-fixed
    """


@attest.command()
@_FOLDER
def provision(directory: Path) -> int:
    """Make and enrol a host in DIRECTORY: hardware TPM stand-in, authority, secure processor."""
    with _one_line():
        HostPlatform.provision(directory / "host")
    click.echo(f"{directory}/host: enrolled. Its TPM is a swtpm and its secure processor software.")
    return 0


@attest.command()
@_FOLDER
@click.option("--instance", "instances", multiple=True, default=("pod-0",), show_default=True)
@click.option("--ak", type=click.Choice(["rsa2048", "ecc256"]), default="ecc256", show_default=True)
@click.option(
    "--issuer",
    type=click.Choice(["attestation-key", "issuing-key"]),
    default="attestation-key",
    show_default=True,
    help="Which key of the hardware TPM signs the vTPMs' certificates.",
)
def host(directory: Path, instances: tuple[str, ...], ak: AkKind, issuer: Issuer) -> int:
    """Launch vTPMs for the pods named by --instance and serve them until interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    host_folder, run_folder = directory / "host", directory / "run"
    with _one_line(), Deployment(host_folder, run_folder, issuer=issuer) as deployment:
        pods = {name: deployment.open(name, ak) for name in instances}
        pod_host = PodHost(directory / "pods.sock", pods)
        policy = policy_for(deployment.policy_trust(), pod_host.logs)
        (directory / "policy.json").write_bytes(encode_policy(policy))
        click.echo(f"vTPM service isolated by {deployment.isolation}")
        click.echo(f"policy: {directory}/policy.json (accepts the emulated secure processor)")
        click.echo(f"serving {', '.join(pods)}; end with Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            pod_host.run()
    return 0


@attest.command("attest")
@_FOLDER
@_INSTANCE
@click.option("--nonce", help="The verifier's challenge in hex; a random one is made and printed.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def attest_pod(directory: Path, instance: str, nonce: str | None, out: Path) -> int:
    """Write evidence of a pod that `host` runs."""
    challenge = _nonce(nonce) if nonce else secrets.token_bytes(_NONCE_BYTES)
    with _one_line(), _pods(directory) as stream:
        request = {"op": "attest", "instance": instance, "nonce": challenge}
        evidence = wire.request(stream, request)["evidence"]
    out.write_bytes(evidence)
    click.echo(f"{out}: {len(evidence)} bytes for nonce {challenge.hex()}")
    return 0


@attest.command("verify")
@click.argument("evidence", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--nonce", required=True, help="The challenge that was given, in hex.")
@click.option(
    "--sign",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Print the result as an EAR signed (ES256) with this P-256 key (PEM).",
)
@json_option
def verify_evidence(
    evidence: Path, policy: Path, nonce: str, sign: Path | None, *, as_json: bool
) -> int:
    """Judge EVIDENCE; exit 0 when accepted, 1 when rejected, with every failure found."""
    data, text, challenge = _read(evidence), _read(policy), _nonce(nonce)
    now = time.time()
    try:
        rules = load_policy(text)
        result = verify(data, rules, Challenge(challenge, now - 1, now + 60), now)
    except PolicyError as error:
        raise InputError(f"{policy}: {error}") from error
    claims = ear_claims(result, challenge, now, rules.digest)
    if sign is not None:
        click.echo(sign_ear(claims, _signing_key(sign)))
    elif as_json:
        print_json(claims)
    elif result.accepted:
        click.echo(
            f"accepted: {result.instance} on {result.host}, TEE trust {result.trust_kind}, "
            f"{result.ima_entries} IMA entries"
        )
    if result.accepted:
        return 0
    reasons = "; ".join(f"{failure.id} ({failure.detail})" for failure in result.failures)
    raise RejectedError(f"{evidence}: rejected: {reasons}")


@attest.command()
@_FOLDER
def revoke(directory: Path) -> int:
    """Revoke the host in DIRECTORY and renew the revocation list in its policy.json."""
    path = directory / "policy.json"
    rules = load_policy(_read(path))
    with _one_line():
        platform = HostPlatform(directory / "host")
        platform.revoke()
        renewed = msgspec.structs.replace(rules, crls=(platform.authority.crl(),))
    path.write_bytes(encode_policy(renewed))
    click.echo(f"{directory}/host: revoked; {path} holds the new list")
    return 0


@attest.command()
@_FOLDER
@_INSTANCE
def tcti(directory: Path, instance: str) -> int:
    """Relay TPM commands between standard input/output and a pod's vTPM (for tss2-tcti-cmd)."""
    with _one_line(), _pods(directory) as stream:
        wire.send(stream, {"op": "tpm", "instance": instance})
        while True:
            ready, _, _ = select.select([sys.stdin.buffer, stream], [], [])
            if stream in ready:
                raise FrameworkError("the pod closed the connection")
            command = os.read(sys.stdin.fileno(), 4096)
            if not command:
                return 0
            stream.sendall(command)
            os.write(sys.stdout.fileno(), read_message(stream))


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except FrameworkError as error:
        raise EnvironmentError_(str(error)) from error


def _pods(directory: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(str(directory / "pods.sock"))
    except OSError as error:
        stream.close()
        raise EnvironmentError_(
            f"{directory}/pods.sock: no pods are served here ({error.strerror});"
            f" run `attestbench attest host {directory}` first"
        ) from error
    return stream


def _nonce(text: str) -> bytes:
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        nonce = b""
    if not 16 <= len(nonce) <= 64:
        raise InputError(f"--nonce: got {text!r}, expected 16 to 64 bytes in hex")
    return nonce


def _signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a P-256 private key in PEM: {error}") from error
    if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        raise InputError(f"{path}: expected a P-256 private key, found another kind")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {_MAX_FILE_BYTES >> 20} MiB")
    return data
