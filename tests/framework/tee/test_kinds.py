"""A TEE is one module: it is found by being there, and no other file knows of it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.framework.tee import verifiers
from harness.framework.verify import load_policy

DEMO = """
import msgspec
from harness.framework.tee.report import TeeReport


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    level: int = 1


class Demo:
    tee = "demo"
    rules_type = Rules
    roots = {"demo-root": b"root"}
    failures = {"tee.demo.level": "the level is too low"}

    def is_root_of(self, evidence, root):
        return evidence.certificates == root

    def verify(self, evidence, root, rules, now_s, memo):
        return TeeReport("demo", evidence.report[:64], evidence.report[64:], 0, "chip")

    def check_rules(self, report, rules):
        if rules.level > 1:
            yield "tee.demo.level", "1"


VERIFIERS = (Demo(),)
"""
USE = """
import sys
from harness.framework.tee import kinds
kinds.__path__.append(sys.argv[1])
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.verify import FAILURES, load_policy
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.launch import check_launch_policy, check_tee
from harness.framework.evidence.memo import forgetful
policy = load_policy(b'''{"scheme": "chain", "tee_rules": {"demo": {"level": 3}},
    "tee_roots": [{"name": "demo-root", "tee": "demo", "kind": "real"}]}''')
context = Context(policy, 0.0, forgetful, FailureList())
data = bytes(64)
trust = check_tee(TeeEvidence("demo", data + b"m", b"root"), data, "tee.report.binding", context)
check_launch_policy(trust, context)
print(*(failure.id for failure in context.failures.found))
"""


def test_a_new_module_is_all_that_a_new_tee_needs(tmp_path: Path) -> None:
    (tmp_path / "demo.py").write_text(DEMO)
    command = (sys.executable, "-c", USE, str(tmp_path))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.split() == ["tee.measurement", "tee.demo.level"]


@pytest.mark.parametrize("kind", verifiers())
def test_every_kind_says_what_its_failures_mean_and_is_strict_by_default(kind: str) -> None:
    verifier = verifiers()[kind]
    assert verifier.failures
    assert all(name.startswith("tee.") and text for name, text in verifier.failures.items())
    assert verifier.roots
    assert msgspec.convert({}, verifier.rules_type) == verifier.rules_type()


def test_the_policies_in_the_documentation_can_be_loaded() -> None:
    text = (Path(__file__).parents[3] / "docs" / "tees.md").read_text()
    examples = [part.partition("```")[0] for part in text.split("```json")[1:]]
    assert {load_policy(example.encode()).scheme for example in examples} == {"chain", "paravisor"}
