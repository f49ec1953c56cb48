"""What a verification takes of the machine, in a process of its own."""

import hashlib
import subprocess
import sys
from pathlib import Path

from harness.framework.evidence import binding
from harness.framework.evidence.bundle import encode_evidence
from harness.framework.verify import encode_policy
from harness.workloads import logs

from .world import NOW, World, attest

ENTRIES = 100_000
LIMIT_MIB = 200
# The peak (VmHWM) is the program's own; getrusage's has what the parent held when it forked.
VERIFY_ONCE = """
import sys
from pathlib import Path
from harness.framework.verify import Challenge, VerificationCache, load_policy, verify
policy, evidence, nonce, now = sys.argv[1:]
challenge = Challenge(bytes.fromhex(nonce), float(now) - 1, float(now) + 30)
cache, rules = VerificationCache(), load_policy(Path(policy).read_bytes())
for _ in range(2):
    result = verify(Path(evidence).read_bytes(), rules, challenge, float(now), cache)
    assert result.accepted, result.failures[:1]
print(result.ima_entries)
print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM:")).split()[1])
"""


def test_a_list_of_100000_entries_fits(world: World, tmp_path: Path) -> None:
    ima = logs.ima_log(ENTRIES, 7)
    value = bytes(32)
    for extended in ima.template_hashes_sha256:
        value = hashlib.sha256(value + extended).digest()
    pcrs = world.pcrs | {10: value}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    evidence = world.evidence(ima_log=ima.binary, pcr_values=pcrs, quote=quote)
    (tmp_path / "policy").write_bytes(encode_policy(world.policy(ima=ima.allowed)))
    (tmp_path / "evidence").write_bytes(encode_evidence(evidence))
    done = subprocess.run(
        [sys.executable, "-c", VERIFY_ONCE, "policy", "evidence", world.nonce.hex(), str(NOW)],
        cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries, peak_kib = map(int, done.stdout.split())
    assert entries == ENTRIES
    assert peak_kib / 1024 < LIMIT_MIB
