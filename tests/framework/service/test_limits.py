"""What a service refuses before it looks, and how it begins and ends."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.framework.service import keys
from harness.framework.service.problems import PROBLEMS
from harness.framework.verify import Policy
from harness.workloads.software_attesters import SoftwareFleet

from .running import COMMAND, Reply, Running, now

LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def small(fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("small")
    options = ("--max-evidence", str(LIMIT), "--max-pending", "2")
    with Running(folder, fleet.policy(), *options) as running:
        yield running


def problem(reply: Reply, kind: str) -> None:
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.body.count(b"\n") == 1
    assert (reply.status, reply.json["status"]) == (PROBLEMS[kind][0],) * 2
    assert reply.json["type"] == f"urn:attestbench:problem:{kind}"
    assert "Traceback" not in reply.body.decode()


def test_other_paths_methods_and_types_are_problems(small: Running) -> None:
    problem(small.request("GET", "/nothing"), "not-found")
    problem(small.request("PUT", "/healthz"), "method")
    problem(small.request("POST", "/v1/challenges", b"{}", "text/plain"), "media-type")
    for body in (b"{}", b"", b"[]", b'{"instance": ""}', b'{"instance": "a b"}', b"\xff"):
        problem(small.request("POST", "/v1/challenges", body, "application/json"), "bad-request")
    long = json.dumps({"instance": "x" * 129}).encode()
    problem(small.request("POST", "/v1/challenges", long, "application/json"), "bad-request")


def test_a_body_that_is_too_large_is_refused_by_its_head_and_by_its_bytes(small: Running) -> None:
    big = bytes(LIMIT + 1)
    problem(small.answer("x", big), "too-large")
    connection = small.connect()
    headers = {"Content-Type": "application/cbor"}
    parts = (b"\0" * 8192 for _ in range(20))
    connection.request("POST", "/v1/challenges/x/evidence", parts, headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, response.headers["Connection"]) == (413, "close")
    connection.close()
    problem(small.answer("x", bytes(LIMIT)), "unknown-challenge")


def raw(service: Running) -> ssl.SSLSocket:
    stream = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    return service.context.wrap_socket(stream, server_hostname="localhost")


def test_what_is_no_http_is_a_problem_too(small: Running) -> None:
    with raw(small) as stream:
        stream.sendall(b"\x16\x03garbage\r\n\r\n")
        answer = stream.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer


def test_a_client_that_says_nothing_is_cut_off(small: Running) -> None:
    """Limits.head_s is 10 s; half a request and a body nobody asked for are nothing, too."""
    with raw(small) as silent, raw(small) as half, raw(small) as endless:
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        endless.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx")
        assert endless.recv(4096).startswith(b"HTTP/1.1 200")
        begin = time.monotonic()
        cut = 0
        for stream in (silent, half):
            try:
                cut += stream.recv(1) == b""
            except OSError:
                cut += 1
        assert cut == 2
        assert time.monotonic() - begin < 25
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(100):
                endless.sendall(b"x" * 100)
                time.sleep(0.3)


def test_tls_1_2_is_refused(small: Running) -> None:
    context = ssl.create_default_context(cafile=str(small.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    stream = socket.create_connection(("127.0.0.1", small.port), timeout=30)
    with pytest.raises(OSError), stream:
        context.wrap_socket(stream, server_hostname="localhost")


def test_beyond_the_pending_requests_others_are_sent_away(small: Running) -> None:
    slow = [raw(small) for _ in range(2)]
    head = "POST /v1/challenges/x/evidence HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
    for stream in slow:
        stream.sendall(f"{head}Content-Type: application/cbor\r\n\r\n".encode())
    time.sleep(1)
    reply = small.answer("x", b"0")
    problem(reply, "busy")
    assert reply.headers["retry-after"] == "1"
    for stream in slow:
        stream.sendall(b"0123456789")
        assert b"404 Not Found" in stream.recv(4096)
        stream.close()
    problem(small.answer("x", b"0"), "unknown-challenge")


def test_the_documents(small: Running) -> None:
    document = small.request("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            url = path.replace("{id}", "x")
            assert small.request(method.upper(), url).status != 404, path
            assert set(operation["responses"]) <= {
                "200", "201", *(str(status) for status, _ in PROBLEMS.values())
            }  # fmt: skip
    page = small.request("GET", "/")
    text = page.body.decode()
    assert all(path in text for path in document["paths"])
    assert "src=" not in text
    assert "http://" not in text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_metrics_add_up_over_worker_processes(
    fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attesters = [fleet.attester(f"pod-{number}") for number in range(6)]
    folder = tmp_path_factory.mktemp("metrics")
    with Running(folder, fleet.policy(), workers=2) as service:
        for _ in range(3):
            for attester in attesters:
                assert service.attest(attester) == set()
        challenge_id, nonce = service.challenge("pod-0")
        other = attesters[1].evidence(nonce, now())
        assert service.failures(service.answer(challenge_id, other))
        text = service.request("GET", "/metrics").body.decode()
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        assert found['attestbench_attestations_total{result="accepted"}'] == "18.0"
        assert found['attestbench_attestations_total{result="rejected"}'] == "1.0"
        assert found["attestbench_challenges_total"] == "19.0"
        assert found['attestbench_failures_total{id="freshness.instance"}'] == "1.0"
        assert found["attestbench_pending"] == "0.0"
        _check_log(service, [challenge_id, nonce.hex(), other.hex()[:64]])


def _check_log(service: Running, secrets: list[str]) -> None:
    lines = service.log.read_text().splitlines()
    assert len({json.loads(line)["process"] for line in lines}) <= 2
    judged = [json.loads(line) for line in lines if '"accepted"' in line]
    assert len(judged) == 19
    assert judged[-1]["failures"] == ["freshness.instance"]
    assert not any(secret in line for secret in secrets for line in lines)


def test_a_running_request_is_finished_when_the_service_stops(
    fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Running(tmp_path_factory.mktemp("stop"), fleet.policy(), workers=2) as service:
        attester = fleet.attester("pod-0")
        challenge_id, nonce = service.challenge("pod-0")
        evidence = attester.evidence(nonce, now())
        head = f"POST /v1/challenges/{challenge_id}/evidence HTTP/1.1\r\nHost: x\r\n"
        with raw(service) as stream:
            stream.sendall(
                f"{head}Content-Type: application/cbor\r\nContent-Length: {len(evidence)}\r\n\r\n"
                .encode() + evidence[:100]
            )  # fmt: skip
            time.sleep(1)
            service.process.send_signal(signal.SIGTERM)
            threading.Timer(2, stream.sendall, (evidence[100:],)).start()
            answer = b""
            while part := stream.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert service.stop() == 0
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", service.port), timeout=5)


def test_a_worker_that_dies_is_replaced_and_all_end_with_the_parent(
    fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import psutil

    service = Running(tmp_path_factory.mktemp("die"), fleet.policy())
    worker = next(
        child
        for child in psutil.Process(service.process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    )
    os.kill(worker.pid, signal.SIGKILL)
    assert service.attest(fleet.attester("pod-0")) == set()
    children = psutil.Process(service.process.pid).children()
    service.process.kill()
    service.process.wait(30)
    _, alive = psutil.wait_procs(children, timeout=40)
    assert not alive


def test_attesters_may_have_to_show_a_certificate(
    fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mtls")
    client = folder / "client.pem", folder / "client.key"
    keys.make_certificate(*client, ("attester",))
    with Running(folder, fleet.policy(), "--client-ca", str(client[0])) as service:
        with pytest.raises(OSError):
            service.request("GET", "/healthz")
        service.context.load_cert_chain(*client)
        assert service.attest(fleet.attester("pod-0")) == set()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--policy", "/nowhere"), "/nowhere: cannot be read"),
        (("--listen", "nonsense"), "--listen: got 'nonsense'"),
        (("--listen", "192.0.2.1:1"), "192.0.2.1:1: cannot listen"),
        (("--signing-key", "/dev/null"), "/dev/null: no signing key"),
        (("--certificate", "/dev/null", "--certificate-key", "/dev/null"), "/dev/null"),
        (("--certificate", "/dev/null"), "expected both or neither"),
        (("--state", "sqlite://"), "names no file"),
        (("--state", "postgresql://u:secret@127.0.0.1:1/x"), "u:***@127.0.0.1"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(
    fleet: SoftwareFleet, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    from harness.framework.verify import encode_policy

    policy: Policy = fleet.policy()
    (tmp_path / "policy.json").write_bytes(encode_policy(policy))
    command = [*COMMAND, "serve", str(tmp_path), "--listen", "127.0.0.1:0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (2, 4)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert sys.executable not in done.stderr


def test_an_answer_does_not_wait_for_acknowledgements() -> None:
    """Head and body are two writes; with Nagle's algorithm the second came 40 ms later."""
    from harness.framework.service.server import listen

    with listen("127.0.0.1", 0) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
