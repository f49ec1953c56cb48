"""docs/logs.md: its policies load, its failures exist, and its differences are those of the tests."""

import re
from pathlib import Path

import pytest

from harness.framework.verify import FAILURES, load_policy

TEXT = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()
POLICIES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", POLICIES)
def test_every_policy_shown_loads(text: str) -> None:
    load_policy(text.encode())


def test_there_are_policies_to_try() -> None:
    assert len(POLICIES) == 2


def test_every_failure_named_exists() -> None:
    named = set(re.findall(r"`((?:boot|ima)\.[a-z_.]+)`", TEXT))
    assert len(named) > 6
    assert named <= set(FAILURES)
