"""Starts `attestbench attest serve` as an operator would, and speaks plain HTTP to it."""

import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.framework.service.client import read_ear
from harness.framework.verify import Policy, encode_policy
from harness.workloads.software_attesters import Clock, SoftwareAttester

COMMAND = (sys.executable, "-m", "harness.cli.main", "attest")


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A service with ``policy`` in ``folder``; a context manager that expects a clean end."""

    def __init__(self, folder: Path, policy: Policy, *options: str, workers: int = 1) -> None:
        self.folder = folder
        self.set_policy(policy)
        command = [*COMMAND, "serve", str(folder), "--listen", "127.0.0.1:0"]
        self.log = folder / "service.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(workers), *options],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.said = ""
        while "serving" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.log.read_text()
            self.said += line
        self.url = re.findall(r"serving (https://\S+)", self.said)[0]
        self.port = int(self.url.rpartition(":")[2])
        self.ca = folder / "verifier" / "tls.pem"
        self.context = ssl.create_default_context(cafile=str(self.ca))
        if "--client-ca" not in options:
            self._await()

    def _await(self) -> None:
        """Until a worker answers: before that, connections wait in the socket's queue."""
        assert self.request("GET", "/healthz").status == 200

    def set_policy(self, policy: Policy) -> None:
        new = self.folder / "policy.new"
        new.write_bytes(encode_policy(policy))
        new.replace(self.folder / "policy.json")

    @property
    def state(self) -> str:
        return f"sqlite:///{self.folder / 'verifier' / 'state.sqlite'}"

    @property
    def result_key(self) -> ec.EllipticCurvePublicKey:
        pem = (self.folder / "verifier" / "results.pub").read_bytes()
        key = serialization.load_pem_public_key(pem)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)

    def request(
        self, method: str, path: str, body: bytes | None = None, media_type: str = ""
    ) -> Reply:
        connection = self.connect()
        headers = {"Content-Type": media_type} if media_type else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        reply = Reply(response.status, names, response.read())
        connection.close()
        return reply

    def ask(self, instance: str) -> Any:
        body = json.dumps({"instance": instance}).encode()
        reply = self.request("POST", "/v1/challenges", body, "application/json")
        assert reply.status == 201, reply
        return reply.json

    def challenge(self, instance: str) -> tuple[str, bytes]:
        given = self.ask(instance)
        return given["id"], bytes.fromhex(given["nonce"])

    def answer(self, challenge_id: str, evidence: bytes) -> Reply:
        path = f"/v1/challenges/{challenge_id}/evidence"
        return self.request("POST", path, evidence, "application/cbor")

    def attest(
        self, attester: SoftwareAttester, at: Clock | None = None, entries: int | None = None
    ) -> set[str]:
        """The failure ids of the signed result; empty when it is accepted."""
        challenge_id, nonce = self.challenge(attester.instance)
        evidence = attester.evidence(nonce, at or now(), entries)
        return self.failures(self.answer(challenge_id, evidence))

    def failures(self, reply: Reply) -> set[str]:
        assert reply.status == 200, reply
        result = read_ear(reply.body.decode(), self.result_key)["submods"]["vtpm"]
        found = {text.partition(":")[0] for text in result["attestbench.failures"]}
        assert (result["ear.status"] == "contraindicated") == bool(found)
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.stop() == 0, self.log.read_text()


def now(resets: int = 1) -> Clock:
    """A TPM's clock that runs as ours does."""
    return Clock(time.monotonic_ns() // 1_000_000, resets)
