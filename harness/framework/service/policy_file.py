"""The policy of a running service: read again when its file changes."""

import gc
from pathlib import Path

from harness.framework.errors import PolicyError
from harness.framework.verify import Policy, load_policy


class PolicyFile:
    """``path`` should be replaced as a whole (renamed over), so that no half of it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._policy: Policy | None = None

    def current(self) -> Policy:
        """The policy as the file says now. One that can't be read puts the old one out of force.

        Raises:
            PolicyError: names the file and what is wrong with it.
        """
        try:
            status = self._path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._policy is None or mark != self._seen:
                self._policy = None
                policy = load_policy(self._path.read_bytes())
                _ = policy.digest, policy.plain_files  # now, not in somebody's attestation
                self._policy, self._seen = policy, mark
                gc.freeze()
        except OSError as error:
            self._policy = None
            raise PolicyError(f"{self._path}: cannot be read: {error.strerror}") from None
        except PolicyError as error:
            raise PolicyError(f"{self._path}: {error}") from None
        return self._policy
