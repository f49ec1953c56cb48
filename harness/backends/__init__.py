"""Where trials run. A backend starts what an arm needs, measures, and takes it down again."""

from harness.backends.protocol import Backend, create

__all__ = ["Backend", "create"]
