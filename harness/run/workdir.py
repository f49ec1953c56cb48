"""Where backends put sockets and TPM state while trials run.

Outside the results, since a Unix socket's path must be short. The name follows from the campaign,
so that what a killed run left behind is removed by the next one.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from harness.model.errors import EnvironmentError_
from harness.store.files import writing


def fresh_workdir(directory: Path) -> Path:
    """An empty private folder (0700) for the campaign in ``directory``; its lock must be held."""
    digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"attestbench-{os.getuid()}-{digest}"
    with writing(path):
        if os.path.lexists(path):
            _check_own(path)
            shutil.rmtree(path)
        path.mkdir(mode=0o700)
    return path


def _check_own(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise EnvironmentError_(f"{path}: exists and is not ours; remove it or set TMPDIR")


def remove_workdir(path: Path) -> None:
    """Remove it with all that is in it; what resists is left for the next run."""
    shutil.rmtree(path, ignore_errors=True)
