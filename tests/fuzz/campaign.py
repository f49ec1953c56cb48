"""Runs every target for a number of inputs, coverage-guided; the same command resumes.

``python -m tests.fuzz.campaign --inputs 1000000 --out .fuzz [TARGET…]``. What is found goes to
``tests/fuzz/corpus``, where the tests run it ever after.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .targets import TARGETS

REGRESSIONS = Path(__file__).parent / "corpus"
_CHUNK = 100_000  # what an interruption costs at most
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
_RSS_LIMIT_MB, _TIMEOUT_S = 1024, 1200


class Progress(msgspec.Struct):
    """How far a target is; ``coverage`` counts edges of instrumented code, ``peak_mib`` is RSS."""

    inputs: int = 0
    seconds: float = 0.0
    coverage: int = 0
    features: int = 0
    peak_mib: int = 0
    slowest_s: float = 0.0
    slowest_size: int = 0
    memory_per_byte: float = 0.0
    findings: list[str] = []

    def line(self, name: str) -> str:
        """A row for people."""
        rate = self.inputs / self.seconds if self.seconds else 0.0
        return (
            f"{name:16} {self.inputs:>9} inputs {rate:>7.0f}/s  cov {self.coverage:>5}  "
            f"peak {self.peak_mib:>4} MiB  slowest {self.slowest_s * 1e3:>6.1f} ms "
            f"({self.slowest_size} B)  memory {self.memory_per_byte:>5.1f} B/B  "
            f"findings {len(self.findings)}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each target")
    parser.add_argument("--out", type=Path, default=Path(".fuzz"), help="corpora and progress")
    options = parser.parse_args(arguments)
    names: Iterable[str] = options.targets or TARGETS
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no target {unknown[0]!r}; known are {', '.join(TARGETS)}")
    found = False
    for name in names:
        progress = run(name, options.inputs, options.out / name)
        _say(progress.line(name))
        found = found or bool(progress.findings)
    return int(found)


def run(name: str, inputs: int, folder: Path) -> Progress:
    """Fuzz one target up to ``inputs`` in all, or until something is found."""
    corpus, state = folder / "corpus", folder / "progress.json"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    progress = msgspec.json.decode(state.read_bytes(), type=Progress) if state.exists() else None
    progress = progress or Progress()
    while progress.inputs < inputs and not progress.findings:
        _chunk(name, min(_CHUNK, inputs - progress.inputs), folder, progress)
        state.write_bytes(msgspec.json.encode(progress))
    return progress


def _chunk(name: str, inputs: int, folder: Path, progress: Progress) -> None:
    """One process, its numbers added to ``progress``."""
    status, log = folder / "status.json", folder / "log"
    status.unlink(missing_ok=True)
    artifacts = folder / "found"
    artifacts.mkdir(exist_ok=True)
    before = set(artifacts.iterdir())
    command = [
        sys.executable, "-W", "ignore", "-m", "tests.fuzz.worker", name, str(status),
        f"-runs={inputs}", f"-max_len={TARGETS[name].max_size}", f"-timeout={_TIMEOUT_S}",
        # By the clock, so that a suspended machine would be a finding; the worker counts CPU time.
        f"-report_slow_units={_TIMEOUT_S}",
        f"-rss_limit_mb={_RSS_LIMIT_MB}", f"-artifact_prefix={artifacts}/", "-print_final_stats=1",
        str(folder / "corpus"),
    ]  # fmt: skip
    start = time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    progress.seconds += time.monotonic() - start
    text = log.read_text(errors="replace")
    seen = json.loads(status.read_text()) if status.exists() else {}
    progress.inputs += inputs if code == 0 else seen.get("inputs", 0)
    progress.memory_per_byte = max(progress.memory_per_byte, seen.get("memory_per_byte", 0.0))
    if seen.get("slowest_s", 0.0) > progress.slowest_s:
        progress.slowest_s, progress.slowest_size = seen["slowest_s"], seen["slowest_size"]
    for coverage, features in _COVERAGE.findall(text):
        progress.coverage = max(progress.coverage, int(coverage))
        progress.features = max(progress.features, int(features))
    progress.peak_mib = max([progress.peak_mib, *map(int, _PEAK.findall(text))])
    for artifact in sorted(set(artifacts.iterdir()) - before):
        kept = REGRESSIONS / name / artifact.name
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(artifact.read_bytes())
        progress.findings.append(str(kept))
    if code and not progress.findings:
        last = text.strip().splitlines()[-1:] or ["no output"]
        raise SystemExit(f"{name}: the fuzzer ended with {code}: {last[0]}; see {log}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
