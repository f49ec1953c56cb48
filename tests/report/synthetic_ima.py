"""A campaign of guests as a run leaves it: counts that differ by layout, and emulated time."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from harness.model.scenario import AA_SUFFIX, Cell
from harness.store import FORMAT_VERSION, Campaign, Header
from harness.store.campaign import trials_table

from .synthetic import Builder, Measure, provenance
from .synthetic_ima_scenario import (
    DOMAINS,
    FRAMEWORK,
    LENGTHS,
    OFF,
    PATCHED,
    SIZES,
    TCB,
    cells,
    scenario,
)

BYTES = {"4KiB": 4096, "16KiB": 16384, "1MiB": 2**20, "64MiB": 2**26}
HASH_PER_BYTE = 55.0
WARM = {"exec": 175_000.0, "open": 7_000.0, "mmap": 9_500.0}
DELTA = {"exec": (300.0, 250.0), "open": (1_900.0, 44.0), "mmap": (1_700.0, 60.0)}
APPLICATIONS = {"compile": 4.1e9, "sqlite": 7.5e8, "web": 1.9e9, "redis": 6.0e8}
TPM_US = {"pcr_read": 1290.0, "pcr_extend": 1230.0, "get_random": 1210.0, "quote": 2300.0}
ATTESTATION_MS = {"seal": 1.6, "quote": 2.4, "pcr_read": 3.9, "report": 4.4, "logs": 2.1}
EMULATED: list[dict[str, object]] = [
    {
        "what": "QEMU TCG instruction counting",
        "instead_of": "a processor of a real host",
        "note": "one instruction per virtual nanosecond; no caches, no SHA extensions",
    },
    {"what": "software CSV secure processor", "instead_of": "Hygon secure processor", "note": ""},
]
Row = tuple[str, str, str, float, str, int]


def count(metric: str, part: str, value: float, n: int = 4) -> Row:
    return (f"{metric}_instructions", part, "measured", value, "instructions", n)


def files(arm: str) -> Iterator[Row]:
    for scope in ("host", "container", "second"):
        for operation, warm in WARM.items():
            for size in SIZES:
                again = warm + (0.3 * BYTES[size] if operation == "open" else 0.0)
                hashing = 9e4 + HASH_PER_BYTE * BYTES[size]
                first = again + (0.0 if arm == OFF or scope == "second" else hashing)
                if arm == PATCHED and scope != "host":
                    added, warm_added = DELTA[operation]
                    first += 19_000 if scope == "second" else added
                    again += warm_added
                elif arm in (PATCHED, TCB):
                    first, again = first + 120, again + 35
                yield count("file_measurement", f"{scope}.{operation}.first.{size}", first)
                yield count("file_measurement", f"{scope}.{operation}.again.{size}", again)
    yield count("file_measurement", "control.stat", 2410)
    yield count("file_measurement", "control.getppid", 299)
    yield from entries(40, 108 if arm == PATCHED else 0, arm)


def entries(host: int, container: int, arm: str) -> Iterator[Row]:
    total = 0 if arm == OFF else host + container
    for part, value in (("pcr10", total - container), ("pcr11", container), ("violations", 0)):
        yield "ima_entries", part, "measured", float(max(value, 0)), "entries", 1
    yield "ima_log_bytes", "total", "measured", 120.0 * total, "B", 1


def boot(arm: str) -> Iterator[Row]:
    base = 8.4e8 if arm == OFF else 8.9e8
    yield count("guest_boot", "init", base * (1.0002 if arm == PATCHED else 1), 1)
    yield count("guest_boot", "system", base * 1.1, 1)
    yield count("guest_boot", "container", base * 1.15, 1)
    yield count("guest_boot", "total", base * 1.21, 1)
    yield from entries(4, 0, arm)


def starts(cell: Cell) -> Measure:
    n = int(cell.factors["containers"])

    def measure(arm: str) -> Iterator[Row]:
        added = 80_000 if arm == PATCHED else 0
        yield count("container_start", "start.first", 761_630 + 900 * n + added, n)
        yield count("container_start", "start.again", 702_000 + 900 * n + added / 2, n)
        yield from entries(6 + (n if added else 0), 2 * n if added else 0, arm)

    return measure


def scale(arm: str) -> Iterator[Row]:
    for n in DOMAINS:
        domain = arm == PATCHED
        yield count("namespace_scale", f"create.{n}", 175_636 + (61_000 + 12 * n) * domain)
        yield count("namespace_scale", f"seal.{n}", 4_000 + 21_000 * n * domain)
        yield count("namespace_scale", f"first_file.{n}", 1.1e5 + (2_000 + n) * domain)
        memory = float(n * (5_200 + 3_100 * domain))
        yield "namespace_memory_bytes", f"memory.{n}.bytes", "measured", memory, "B", 1


def growth(arm: str) -> Iterator[Row]:
    for n in LENGTHS:
        yield count("log_growth", f"append.{n}", 111_659 + (400 if arm == PATCHED else 0) + n / 50)
        yield count("log_growth", f"read.{n}", 900.0 * n)


def applications(arm: str) -> Iterator[Row]:
    for name, value in APPLICATIONS.items():
        yield count("application", name, value * (1.0016 if arm == PATCHED else 1), 3)


def commands(arm: str) -> Iterator[Row]:
    for part, us in TPM_US.items():
        added = 1_010.0 if arm == FRAMEWORK and part == "quote" else 90.0 * (arm == FRAMEWORK)
        value = (us + added) * 1e3
        yield "guest_tpm_command_latency_ns", part, "measured", value, "ns", 20


def attestation(arm: str) -> Iterator[Row]:
    parts = {part: ms * (1.1 if arm == FRAMEWORK else 1) for part, ms in ATTESTATION_MS.items()}
    parts["total"] = sum(parts.values()) + 0.3
    for part, ms in parts.items():
        yield "guest_attestation_latency_ns", part, "measured", ms * 1e6, "ns", 8
    yield "guest_wall_time_ns", "total", "measured", 1.8e10, "ns", 1


def demonstration(patched: bool) -> list[dict[str, Any]]:
    """What the measurement list holds after two containers ran from one image."""
    init, agent = "9f3ac01d77b2e410", "51c2e98f00d1a7b3"

    def item(pcr: int, kind: str, path: str, domain: int, digest: str) -> dict[str, Any]:
        cid = {0: "", 1: "tenant-a", 2: "tenant-b"}[domain] if patched else ""
        of = {"pcr": pcr if patched else 10, "kind": kind, "path": path}
        return {**of, "domain": domain if patched else 0, "cid": cid, "digest": digest}

    both = [
        item(10, "boot_aggregate", "boot_aggregate", 0, "b0" * 8),
        item(10, "file", "/init", 0, init),
        item(10, "file", "/usr/bin/container-manager", 0, agent),
        item(10, "file", "/image/bin/app1", 0, "a1" * 8),
    ]
    if not patched:
        shared = ("/image/bin/app2", "/image/bin/app3", "/image/etc/conf")
        both += [item(10, "file", path, 0, "a2" * 8) for path in shared]
        return [*both, item(10, "violation", "/image/etc/conf", 0, "0" * 16)]
    paths = ["/image/bin/app1", "/image/bin/app2", "/image/bin/app3"]
    both.append(item(10, "ns_create", "", 1, agent))
    both += [item(11, "file", path, 1, "a1" * 8) for path in paths]
    both.append(item(10, "ns_create", "", 2, agent))
    both += [item(11, "file", path, 2, "a1" * 8) for path in (paths[0], "/image/etc/conf")]
    both.append(item(11, "violation", "/image/etc/conf", 2, "0" * 16))
    both.append(item(10, "violation", "/image/etc/conf", 0, "0" * 16))
    return [*both, *(item(10, "ns_aggregate", "", n, f"{n}d" * 8) for n in (1, 2))]


class Guests(Builder):
    """Counts spread by layout (salt) alone, by some hundredths of a percent; time by far more."""

    def notes(self, cell: Cell, arm: str) -> dict[str, str]:
        found = {"salt": str(1 + len(self.plan) // 5)}
        if cell.workload == "containers":
            found["ima_demo"] = json.dumps(demonstration(arm == FRAMEWORK))
            found["ima_events"] = json.dumps(["host runs app1", "tenant-a runs app1, app2, app3"])
            found["ima_replay"] = json.dumps({"10": "match", "11": "match"})
        return found

    def _samples(self, trial: str, row: Row, effect: float) -> None:
        metric, part, phase, mean, unit, n = row
        if unit == "ns":
            super()._samples(trial, row, effect)
            return
        spread = 0.0 if unit != "instructions" or "again" in part or "control" in part else 2e-4
        value = round(mean * math.exp(self.random.normal(0, spread)))
        values = [float(value)] * n
        for name, column in (("trial_id", trial), ("metric", metric), ("part", part)):
            self.columns[name] += [column] * n
        self.columns["phase"] += [phase] * n
        self.columns["unit"] += [unit] * n
        self.columns["iteration"] += range(n)
        self.columns["value"] += values


MEASURES: dict[str, Measure] = {
    "file_measurement": files,
    "guest_boot": boot,
    "namespace_scale": scale,
    "log_growth": growth,
    "application": applications,
    "guest_tpm_commands": commands,
    "guest_attestation": attestation,
    "containers": attestation,
}


def _plain(measure: Measure) -> Measure:
    """The A/A copy measures what its original measures."""
    return lambda arm: measure(arm.removesuffix(AA_SUFFIX))


def campaign(directory: Path, blocks: int = 6, workloads: tuple[str, ...] = ()) -> Campaign:
    """The whole campaign, or only some of its workloads."""
    whole = scenario(blocks)
    kept = tuple(one for one in whole.workloads if not workloads or one.name in workloads)
    names = {one.name for one in kept}
    claims = tuple(claim for claim in whole.claims if claim.workload in names)
    of = msgspec.structs.replace(whole, workloads=kept, claims=claims)
    builder = Guests(11, blocks, 4)
    builder.random = np.random.default_rng(3)
    here = [cell for cell in cells() if cell.workload in names]
    for workload in kept:
        for cell in (cell for cell in here if cell.workload == workload.name):
            for block in range(workload.blocks or blocks):
                baseline = of.baseline_of(workload.name)
                others = [arm for arm in workload.arms if arm != baseline]
                copy = [] if workload.blocks == 1 else [baseline + AA_SUFFIX]
                measure = MEASURES.get(workload.name) or starts(cell)
                builder.block(cell, block, [baseline, *copy, *others], _plain(measure))
    records = tuple(builder.records)
    emulated = provenance(EMULATED)
    emulated |= {"backend": "qemu", "versions": {"qemu": "7.2.22", "swtpm": "0.7.1"}}
    return Campaign(
        directory=directory,
        header=Header(
            format_version=FORMAT_VERSION,
            campaign="synthetic-ima",
            scenario_file="scenarios/synthetic-ima.toml",
            scenario_text='name = "synthetic-ima"\nbackend = "qemu"\n',
            seed=20251102,
            created_utc="2025-11-02T12:26:39Z",
            created_s=1_762_086_399.0,
            machines=("0f" * 16,),
            cells=tuple(here),
        ),
        scenario=of,
        cells={cell.id: cell for cell in here},
        plan=tuple(builder.plan),
        trials=trials_table(records),
        samples=pd.DataFrame(builder.columns).assign(clock="guest-instructions"),
        provenance={"aa" * 32: emulated},
        records=records,
    )
