"""The policy of a running service: read again when its file changes."""

import gc
import threading
from pathlib import Path

from harness.framework.errors import PolicyError
from harness.framework.verify import Policy, load_policy


class PolicyFile:
    """``path`` should be replaced as a whole (renamed over), so that no half of it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[tuple[int, int, int], Policy] | None = None
        self._lock = threading.Lock()

    def current(self) -> Policy:
        """The policy as the file says now. One that can't be read puts the old one out of force.

        Raises:
            PolicyError: names the file and what is wrong with it.
        """
        with self._lock:
            try:
                return self._read()
            except OSError as error:
                raise PolicyError(f"{self._path}: cannot be read: {error.strerror}") from None
            except PolicyError as error:
                raise PolicyError(f"{self._path}: {error}") from None

    def _read(self) -> Policy:
        kept, self._kept = self._kept, None
        status = self._path.stat()
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        if kept is None or kept[0] != mark:
            policy = load_policy(self._path.read_bytes())
            _ = policy.digest, policy.plain_files  # now, not in somebody's attestation
            kept = mark, policy
            gc.freeze()
        self._kept = kept
        return kept[1]
