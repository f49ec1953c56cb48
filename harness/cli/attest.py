"""`attestbench attest`: the framework by hand, without the harness."""

import os
import secrets
import select
import socket
import sys
import time
from functools import partial
from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.cli.attest_host import host, provision
from harness.cli.attest_logs import replay
from harness.cli.attest_service import FOLDER, one_line, revoke, serve, state
from harness.cli.common import json_option, print_json, read_file
from harness.framework import wire
from harness.framework.errors import FrameworkError, ParseError, PolicyError
from harness.framework.evidence import confirmation
from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.service.client import (
    Attester,
    UntrustedResultError,
    VerifierClient,
    accepted,
)
from harness.framework.tpm.tcti import read_message
from harness.framework.verify import Challenge, load_policy, verify
from harness.framework.verify.ear import ear_claims, sign_ear
from harness.model.errors import EnvironmentError_, InputError, RejectedError

_NONCE_BYTES = 32
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

    \b
    attestbench attest serve DIR              # the verifier over HTTPS, in another terminal
    attestbench attest attest DIR --verifier https://127.0.0.1:8443 \\
        --ca DIR/verifier/tls.pem --result-key DIR/verifier/results.pub
    attestbench attest state DIR              # what it accepted and revoked
    attestbench attest revoke DIR --instance pod-0

    \b
    attestbench attest replay --ima-log FILE  # what a log leads to; no TPM needed
    """


for _command in (provision, host, serve, state, revoke, replay):
    attest.add_command(_command)


@attest.command("attest")
@FOLDER
@_INSTANCE
@click.option("--nonce", help="The verifier's challenge in hex; a random one is made and printed.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File for the evidence."
)
@click.option("--verifier", help="URL of a service that gives the challenge and judges.")
@click.option("--ca", type=click.Path(path_type=Path), help="Roots (PEM) of the service's TLS.")
@click.option("--result-key", type=click.Path(path_type=Path), help="Its public key (PEM) to pin.")
@click.option(
    "--confirmation-key",
    type=click.Path(path_type=Path),
    help="P-256 public key (PEM) of the pod's: the quote binds it, the result has it as cnf.",
)
@json_option
def attest_pod(
    directory: Path,
    instance: str,
    nonce: str | None,
    out: Path | None,
    verifier: str | None,
    ca: Path | None,
    result_key: Path | None,
    confirmation_key: Path | None,
    *,
    as_json: bool,
) -> int:
    """Write evidence of a pod that `host` runs, or have a service judge it."""
    attester = partial(_evidence, directory, instance, _spki(confirmation_key))
    if verifier is not None:
        if ca is None or result_key is None or nonce or out:
            raise InputError(
                "--verifier: needs --ca and --result-key, and neither --nonce nor --out"
            )
        return _attest_to(attester, instance, verifier, (ca, result_key), as_json=as_json)
    if out is None:
        raise InputError("expected --out FILE for the evidence, or --verifier URL")
    challenge = _nonce(nonce) if nonce else secrets.token_bytes(_NONCE_BYTES)
    evidence = attester(challenge)
    out.write_bytes(evidence)
    click.echo(f"{out}: {len(evidence)} bytes for nonce {challenge.hex()}")
    return 0


def _attest_to(
    attester: Attester, instance: str, url: str, trusted: tuple[Path, Path], *, as_json: bool
) -> int:
    ca, result_key = trusted
    with one_line():
        client = VerifierClient(url, ca, read_file(result_key))
        try:
            claims = client.attest(instance, attester)
        except UntrustedResultError as error:
            raise RejectedError(f"{url}: {error}") from error
    pod = claims["submods"]["vtpm"]
    if as_json:
        print_json(claims)
    elif accepted(claims):
        click.echo(
            f"{url}: accepted (TEE trust {pod['attestbench.trust-kind']}): "
            f"{pod['attestbench.instance']} on "
            f"{pod['attestbench.host']}, {pod['attestbench.ima-entries']} IMA entries"
        )
    if accepted(claims):
        return 0
    raise RejectedError(f"{url}: rejected: {'; '.join(pod['attestbench.failures'])}")


def _evidence(
    directory: Path,
    instance: str,
    key: bytes | None,
    nonce: bytes,
    prefix: ImaPrefix | None = None,
) -> bytes:
    known = [prefix.entries, prefix.pcr] if prefix else None
    with one_line(), _pods(directory) as stream:
        request = {
            "op": "attest",
            "instance": instance,
            "nonce": nonce,
            "prefix": known,
            "key": key,
        }
        evidence = wire.request(stream, request)["evidence"]
    assert isinstance(evidence, bytes)
    return evidence


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
    data, text, challenge = read_file(evidence), read_file(policy), _nonce(nonce)
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
@FOLDER
@_INSTANCE
def tcti(directory: Path, instance: str) -> int:
    """Relay TPM commands between standard input/output and a pod's vTPM (for tss2-tcti-cmd)."""
    with one_line(), _pods(directory) as stream:
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


def _spki(path: Path | None) -> bytes | None:
    """A confirmation key as evidence has it."""
    if path is None:
        return None
    try:
        key = serialization.load_pem_public_key(read_file(path))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("another kind of key than P-256")
        der = confirmation.encode_key(key)
        confirmation.parse_key(der)
    except (ValueError, UnsupportedAlgorithm, ParseError) as error:
        raise InputError(f"{path}: expected a P-256 public key in PEM: {error}") from error
    return der


def _signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a P-256 private key in PEM: {error}") from error
    if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        raise InputError(f"{path}: expected a P-256 private key, found another kind")
    return key
