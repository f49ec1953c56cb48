"""Attestations a second through the real HTTPS service, by round-trip time and worker processes.

    python -m benchmarks.service_throughput [--attesters 64] [--seconds 4] [--repeats 3]

The table has the shape of Keylime's (ACSAC'16, table 3). An attestation is two requests, challenge
and evidence, over a TLS 1.3 connection that stays open. The attesters' logs, reports and
certificates are prepared and their quotes are signed with keys in software, so that they are as
fast as one signature. A round trip is a delay in the attester before each request: it is declared,
not a network. Both services run all the time; cells take turns in random order, so that drift of
the machine hits all alike. Attesters and services share the machine: the time on the processor that
each side took is printed beside the rate.
"""

import argparse
import asyncio
import json
import os
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from scipy import stats

from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.verify import encode_policy
from harness.workloads.software_attesters import Clock, SoftwareAttester, SoftwareFleet

ROUND_TRIPS_MS = (0, 4, 25, 50, 75, 100, 150)


class Service(NamedTuple):
    workers: int
    port: int
    tls: ssl.SSLContext
    process: psutil.Process

    def cpu_s(self) -> float:
        children = self.process.children()
        return sum(sum(child.cpu_times()[:2]) for child in children)


class Turn(NamedTuple):
    rate: float
    refused: int
    service_ms: float
    attester_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attesters", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ima-entries", type=int, default=500)
    parser.add_argument("--whole", action="store_true", help="always send the whole IMA log")
    parser.add_argument("--state", help="database URL for both services (default: SQLite each)")
    options = parser.parse_args()
    turns: dict[tuple[int, int], list[Turn]] = defaultdict(list)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
        fleet = SoftwareFleet(work / "processor", options.ima_entries)
        services = [
            stack.enter_context(_service(work / str(workers), fleet, workers, options.state))
            for workers in (1, 2)
        ]
        names = range(options.attesters)
        # The same instances for both services would be one too many for a shared database.
        fleets = {s.workers: [fleet.attester(f"w{s.workers}-{n}") for n in names] for s in services}
        cells = [(service, rtt) for service in services for rtt in ROUND_TRIPS_MS]
        for service in services:
            _turn(service, fleets[service.workers], 0, 1.0, whole=options.whole)
        for _ in range(options.repeats):
            random.shuffle(cells)
            for service, rtt in cells:
                attesters = fleets[service.workers]
                turn = _turn(service, attesters, rtt, options.seconds, whole=options.whole)
                turns[service.workers, rtt].append(turn)
    _print_table(turns, options)


def _print_table(turns: dict[tuple[int, int], list[Turn]], options: argparse.Namespace) -> None:
    listed = "whole" if options.whole else "new part of the"
    print(
        f"{options.attesters} attesters, {listed} IMA log of {options.ima_entries} entries, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
        f"mean of {options.repeats} turns of {options.seconds:g} s, 95 % interval (t)"
    )
    print(f"{'workers':>7} {'RTT ms':>6} {'attestations/s':>24} {'n':>6} "
          f"{'refused':>7} {'service ms':>10} {'attester ms':>11}")  # fmt: skip
    for (workers, rtt), found in sorted(turns.items()):
        rates = [turn.rate for turn in found]
        mean, half = statistics.mean(rates), _half_width(rates)
        shown = f"{mean:8.1f} [{mean - half:6.1f}, {mean + half:6.1f}]"
        n = sum(round(rate * options.seconds) for rate in rates)
        service = statistics.mean(turn.service_ms for turn in found)
        attester = statistics.mean(turn.attester_ms for turn in found)
        refused = sum(turn.refused for turn in found)
        print(
            f"{workers:>7} {rtt:>6} {shown:>24} {n:>6} {refused:>7} "
            f"{service:>10.2f} {attester:>11.2f}"
        )


def _half_width(values: list[float]) -> float:
    if len(values) < 2:
        return float("nan")
    error = statistics.stdev(values) / len(values) ** 0.5
    return float(stats.t.ppf(0.975, len(values) - 1) * error)


@contextmanager
def _service(
    folder: Path, fleet: SoftwareFleet, workers: int, state: str | None
) -> Iterator[Service]:
    folder.mkdir()
    (folder / "policy.json").write_bytes(encode_policy(fleet.policy()))
    command = [sys.executable, "-m", "harness.cli.main", "attest", "serve", str(folder)]
    command += ["--listen", "127.0.0.1:0", "--workers", str(workers), "--max-pending", "1024"]
    command += ["--state", state] if state else []
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if line.startswith("serving"))
        port = int(line.split()[1].rpartition(":")[2])
        tls = ssl.create_default_context(cafile=str(folder / "verifier" / "tls.pem"))
        yield Service(workers, port, tls, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def _turn(
    service: Service, attesters: list[SoftwareAttester], rtt_ms: int, seconds: float, *, whole: bool
) -> Turn:
    return asyncio.run(_load(service, attesters, rtt_ms / 1000, seconds, whole=whole))


async def _load(
    service: Service,
    attesters: list[SoftwareAttester],
    rtt_s: float,
    seconds: float,
    *,
    whole: bool,
) -> Turn:
    connections = [
        await asyncio.open_connection(
            "127.0.0.1", service.port, ssl=service.tls, server_hostname="localhost"
        )
        for _ in attesters
    ]
    service_cpu, own_cpu, begin = service.cpu_s(), time.process_time(), time.perf_counter()
    end = begin + seconds
    done = await asyncio.gather(
        *(
            _attest_until(end, attester, connection, rtt_s, whole=whole)
            for attester, connection in zip(attesters, connections, strict=True)
        )
    )
    took = time.perf_counter() - begin
    service_cpu, own_cpu = service.cpu_s() - service_cpu, time.process_time() - own_cpu
    for _, writer in connections:
        writer.close()
    accepted, refused = (sum(column) for column in zip(*done, strict=True))
    each = 1000 / max(accepted, 1)
    return Turn(accepted / took, refused, service_cpu * each, own_cpu * each)


async def _attest_until(
    end: float,
    attester: SoftwareAttester,
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    rtt_s: float,
    *,
    whole: bool,
) -> tuple[int, int]:
    """How many attestations were accepted, and how many requests were refused for now."""
    accepted = refused = 0
    asked = json.dumps({"instance": attester.instance}).encode()
    while time.perf_counter() < end:
        await asyncio.sleep(rtt_s)
        status, body = await _post(connection, "/v1/challenges", "application/json", asked)
        if status != 201:
            refused += 1
            continue
        given = json.loads(body)
        known = None if whole else given["ima_prefix"]
        prefix = known and ImaPrefix(known["entries"], bytes.fromhex(known["pcr"]))
        clock = Clock(time.monotonic_ns() // 1_000_000)
        evidence = attester.evidence(bytes.fromhex(given["nonce"]), clock, prefix=prefix)
        await asyncio.sleep(rtt_s)
        path = f"/v1/challenges/{given['id']}/evidence"
        status, body = await _post(connection, path, "application/cbor", evidence)
        if status != 200:
            refused += 1
            continue
        accepted += 1
    return accepted, refused


async def _post(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    path: str,
    media: str,
    body: bytes,
) -> tuple[int, bytes]:
    reader, writer = connection
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in answer[1:] if line)
    content = await reader.readexactly(int(fields["content-length"]))
    return int(answer[0].split()[1]), content


if __name__ == "__main__":
    main()
