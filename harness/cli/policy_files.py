"""Policies in files, for the verbs of `attest`."""

from pathlib import Path

from harness.cli.common import read_file
from harness.framework.errors import PolicyError
from harness.framework.verify import Policy, encode_policy, load_policy
from harness.framework.verify.policy import MAX_POLICY_SIZE
from harness.model.errors import InputError


def read_policy(path: Path) -> Policy:
    """The policy in ``path``. Raises InputError."""
    try:
        return load_policy(read_file(path, MAX_POLICY_SIZE))
    except PolicyError as error:
        raise InputError(f"{path}: {error}") from error


def write_policy(path: Path, policy: Policy) -> None:
    """Replace the file as a whole: a running service must never see half of it."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(encode_policy(policy))
    temporary.replace(path)
