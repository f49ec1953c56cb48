"""What a guest's image holds, by path: the reference values of a verifier."""

import tempfile
from pathlib import Path

from harness.guest.cache import digest_of
from harness.guest.tools import run


def file_digests(image: Path) -> dict[str, bytes]:
    """SHA-256 of every regular file of an erofs image, by its path in the image.

    Read back from the image, so that it holds for whatever made it. Raises EnvironmentError_.
    """
    with tempfile.TemporaryDirectory(prefix="attestbench-image-") as folder:
        tree = Path(folder) / "tree"
        run("reading a guest's image", ["fsck.erofs", f"--extract={tree}", "--no-preserve", image])
        files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
        return {f"/{path.relative_to(tree)}": bytes.fromhex(digest_of(path)) for path in files}
