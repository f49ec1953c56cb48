"""How much of a campaign's time was spent without a trial running."""

from pathlib import Path
from typing import NamedTuple

from harness.store.reader import read_sessions, read_trials


class Orchestration(NamedTuple):
    """``wall_s``: time in all sessions; ``trial_s``: of it, time in which a trial ran."""

    wall_s: float
    trial_s: float

    @property
    def share(self) -> float:
        """Fraction of the wall time in which no trial ran; 0 before the first trial."""
        return max(0.0, 1 - self.trial_s / self.wall_s) if self.wall_s > 0 else 0.0


def orchestration(directory: Path) -> Orchestration:
    """Times of a campaign. A session that was killed ends with its last finished trial."""
    sessions = read_sessions(directory)
    records = read_trials(directory)
    wall = 0.0
    for index, session in enumerate(sessions):
        following = sessions[index + 1].started_s if index + 1 < len(sessions) else float("inf")
        ends = [
            record.started_s + record.duration_s
            for record in records
            if session.started_s <= record.started_s < following
        ]
        ended = session.ended_s
        if ended is None:
            ended = max(ends, default=session.started_s)
        wall += ended - session.started_s
    return Orchestration(wall, sum(record.duration_s for record in records))
