"""What every check needs beside the evidence."""

from typing import NamedTuple

from harness.framework.evidence.memo import Memo
from harness.framework.verify.failures import FailureList
from harness.framework.verify.policy import Policy


class Context(NamedTuple):
    """One verification: its policy, its time (seconds since 1970), and what it found so far."""

    policy: Policy
    now_s: float
    memo: Memo
    failures: FailureList
