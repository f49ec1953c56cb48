"""Bounded memory for what verifying found before, so that steady state stays cheap."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

from harness.framework.verify.known_list import AcceptedLists

T = TypeVar("T")


class VerificationCache:
    """Keeps results of pure checks by a hash of all their inputs; the least used goes first.

    ``lists`` are the IMA lists that were accepted, so that the next replay begins at their end.
    Nothing that depends on time or challenge belongs here: validity, revocation, freshness and
    bindings are checked every time. Not for use by several threads at once.
    """

    def __init__(self, max_results: int = 4096) -> None:
        self._results: OrderedDict[bytes, object] = OrderedDict()
        self._max_results = max_results
        self.lists = AcceptedLists()

    def memo(self, key: bytes, check: Callable[[], T], /) -> T:
        """See :class:`harness.framework.evidence.memo.Memo`."""
        if key in self._results:
            self._results.move_to_end(key)
            return cast(T, self._results[key])
        result = check()
        self._results[key] = result
        if len(self._results) > self._max_results:
            self._results.popitem(last=False)
        return result
