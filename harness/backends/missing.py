"""What a backend says when this machine lacks programs or libraries."""

from collections.abc import Mapping

from harness.model.errors import EnvironmentError_


def require_nothing(missing: Mapping[str, tuple[str, str]]) -> None:
    """Raise EnvironmentError_ with the commands that get what is ``missing``, if anything is.

    ``missing``: name -> its packages for apt and for dnf.
    """
    if not missing:
        return
    apt = " ".join(sorted({apt for apt, _ in missing.values()}))
    dnf = " ".join(sorted({dnf for _, dnf in missing.values()}))
    raise EnvironmentError_(
        f"missing: {', '.join(missing)}; get it with `apt-get install {apt}` or `dnf install {dnf}`"
    )
