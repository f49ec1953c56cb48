"""Keylime's verifier functions, timed in a process of Keylime's own venv (benchmarks/peers.sh).

    .venv.peers/bin/python benchmarks/keylime_worker.py DIRECTORY

DIRECTORY holds what verifier_cases.py writes. Answers each line on standard input, the name of a
task, with the nanoseconds of CPU time that it took. Imports nothing of attestbench.
"""

import copy
import functools
import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

QUOTES_IN_A_ROW = 200


class Absent(ModuleType):
    """Takes the place of a module that isn't installed: any use of it ends the benchmark."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SystemExit(f"{self.__name__}.{name} was used, and {self.__name__} isn't installed")


def stand_in() -> list[str]:
    """The modules that Keylime imports and this venv lacks; each is now one that can't be used."""
    try:
        import gpg  # noqa: F401
    except ImportError:
        sys.modules["gpg"] = Absent("gpg")
        return ["gpg"]
    return []


def tasks(directory: Path) -> dict[str, Callable[[], int]]:
    from keylime.agentstates import AgentAttestState
    from keylime.common.algorithms import Hash
    from keylime.ima import ima
    from keylime.tpm import tpm_util

    case = json.loads((directory / "keylime.json").read_text())
    lines = (directory / "ima.ascii").read_text().splitlines()
    policy = json.loads((directory / "keylime-policy.json").read_text())
    known, whole = lines[: case["known_entries"]], case["pcr10"]

    def replay(lines: list[str], pcr: str, state: Any) -> int:
        gc.collect()
        begin = time.process_time_ns()
        _, failure = ima.process_measurement_list(
            state, lines, policy, pcrval=pcr, hash_alg=Hash.SHA256
        )
        elapsed = time.process_time_ns() - begin
        if failure:
            raise SystemExit(f"Keylime refused the list: {failure.events[0].context}")
        return elapsed

    after_known = AgentAttestState("benchmark")
    replay(known, case["known_pcr10"], after_known)

    def quote(kind: str) -> int:
        q = {name: bytes.fromhex(value) for name, value in case["quotes"][kind].items()}
        begin = time.process_time_ns()
        for _ in range(QUOTES_IN_A_ROW):
            tpm_util.checkquote(
                q["pem"], q["nonce"], q["signature"], q["attest"], q["pcrs"], "sha256"
            )
        return (time.process_time_ns() - begin) // QUOTES_IN_A_ROW

    return {
        "list": lambda: replay(lines, whole, None),
        "part": lambda: replay(lines[len(known) :], whole, copy.deepcopy(after_known)),
        **{f"quote.{kind}": functools.partial(quote, kind) for kind in case["quotes"]},
    }


def main() -> None:
    absent = stand_in()
    # Its log lines would cost more than its work.
    logging.disable(logging.CRITICAL)
    known = tasks(Path(sys.argv[1]))
    versions = {name: metadata.version(name) for name in ("keylime", "cryptography")}
    print(json.dumps({"versions": versions, "absent": absent}), flush=True)
    for line in sys.stdin:
        print(known[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
