"""The kernel's configuration: fragments on top of `make tinyconfig`, and whether they stuck."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.guest.kernel_source import KernelSource
from harness.model.errors import EnvironmentError_

_SET = re.compile(r"^(CONFIG_\w+)=(.+)$")
_UNSET = re.compile(r"^# (CONFIG_\w+) is not set$")


def read_config(text: str) -> dict[str, str]:
    """Option → value of a `.config` or a fragment; "n" where it says "is not set"."""
    options: dict[str, str] = {}
    for line in text.splitlines():
        if found := _SET.match(line.strip()):
            options[found[1]] = found[2]
        elif found := _UNSET.match(line.strip()):
            options[found[1]] = "n"
    return options


def check_stuck(source: KernelSource, config: Path, fragments: Sequence[Path]) -> None:
    """Check that a finished `.config` has every line of the fragments.

    Kconfig drops a line whose dependency is missing, or whose option this source does not have,
    without a word. Raises EnvironmentError_ naming every dropped line.
    """
    got = read_config(config.read_text())
    wanted: dict[str, tuple[str, str]] = {}
    for fragment in fragments:
        for option, value in read_config(fragment.read_text()).items():
            wanted[option] = (value, fragment.name)
    dropped = [
        f"{option}={value} ({fragment})"
        for option, (value, fragment) in wanted.items()
        if got.get(option, "n") != value
    ]
    if dropped:
        raise EnvironmentError_(
            f"Kconfig of {source} dropped {', '.join(dropped)}: an option that it depends on is "
            "not set, or this source does not have it; add the dependency to the fragment"
        )
