"""How a list without containers is replayed: from the beginning, or from where it is known.

It is also seen whether the list goes through the point where it stood when evidence was last
accepted; a copy of the machine leaves the common way sooner or later.
"""

from collections.abc import Callable
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.ima_log import IMA_PCR
from harness.framework.evidence.ima_replay import MAX_REPORTED, ImaReplay, Start
from harness.framework.verify.file_rules import FileJudge, FileRules
from harness.framework.verify.known_list import ListEnd

Quoted = dict[int, bytes]
Replay = Callable[[Quoted, Start | None, FileJudge], ImaReplay]


class Walked(NamedTuple):
    """``keys`` are those that the list has loaded; ``continues`` as in ``MeasuredList``."""

    result: ImaReplay
    keys: tuple[bytes, ...]
    continues: bool | None


class ListWalk(NamedTuple):
    """One list: ``replay`` leads it from a start to quoted values, judging its entries.

    The list is ``whole``, or only what follows ``known``.
    """

    replay: Replay
    quoted: Quoted
    rules: FileRules
    known: ListEnd | None
    before: ListEnd | None
    whole: bool

    def walk(self) -> Walked:
        """Replay it, on the shortest way that gives the same answer. Raises ParseError."""
        through = self._through() if self.whole else None
        if through is not None:
            return through
        if self.known is not None:
            files = FileJudge(self.rules, self.known.keys)
            result = self._go_on(self.known, files)
            if result is not None:
                ahead = self.before is not None and self.known.entries > self.before.entries
                off = None if self.before is None or ahead else not self.whole
                return Walked(result, files.loaded, off)
        files = FileJudge(self.rules)
        result = self.replay(self.quoted, None, files)
        return Walked(result, files.loaded, None if self.before is None else False)

    def _go_on(self, end: ListEnd, files: FileJudge) -> ImaReplay | None:
        """Replay what follows ``end``; None: the whole list's answer is another one."""
        at = end.size if self.whole else 0
        if self.quoted.get(IMA_PCR) == end.pcr:
            return ImaReplay(True, end.entries, (), at)
        try:
            result = self.replay(self.quoted, Start(end.entries, end.pcr, at), files)
        except ParseError:
            if self.whole:
                return None
            raise
        return result if result.matched or result.gave_up or not self.whole else None

    def _through(self) -> Walked | None:
        """Replay up to ``before`` and on from there; None if the list doesn't pass there."""
        before, known = self.before, self.known
        if before is None or (known is not None and known.entries > before.entries):
            return None
        begin = Start(known.entries, known.pcr, known.size) if known else Start()
        files = FileJudge(self.rules, known.keys if known else ())
        try:
            first = ImaReplay(begin.pcr == before.pcr, begin.entries, (), begin.at)
            if not first.matched:
                first = self.replay({**self.quoted, IMA_PCR: before.pcr}, begin, files)
            if first.gave_up:
                return Walked(first, files.loaded, None)
            if not first.matched or first.entries != before.entries:
                return None
            if self.quoted.get(IMA_PCR) == before.pcr:
                return Walked(first, files.loaded, True)
            begin = Start(first.entries, before.pcr, first.end, first.unacceptable)
            second = self.replay(self.quoted, begin, files)
        except ParseError:
            return None
        problems = (*first.problems, *second.problems)[:MAX_REPORTED]
        found = second._replace(problems=problems)
        return Walked(found, files.loaded, True) if second.matched or second.gave_up else None
