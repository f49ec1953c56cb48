"""The noise gate: what else the machine did right before and during a trial.

It flags and never hides: a flagged trial is used and counted. What can't be read on a machine is
not checked, and the provenance says so.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.model.record import NoiseFlag
from harness.model.scenario import NoiseGate
from harness.run.machine import read_text

# Shorter windows hold too few scheduler ticks (10 ms each) for a percentage.
_FEWEST_TICKS = 50
# At the end of a trial the core that worked is fast; below this the CPU was being held back.
_SLOW_PERCENT = 60.0
_POLL_S = 0.5


class _Counters(NamedTuple):
    steal_ticks: int
    all_ticks: int
    swap_in_pages: int
    throttles: int


class NoiseMonitor:
    """Call ``before`` and ``after`` around each trial."""

    def __init__(
        self,
        gate: NoiseGate,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gate = gate
        self._proc = proc
        self._cpus = sys / "devices/system/cpu"
        self._sleep = sleep
        self._last = self._counters()

    def readable(self) -> dict[str, bool]:
        """Which conditions this machine lets us see."""
        return {
            "load": self._load() is not None,
            "steal": read_text(self._proc / "stat") is not None,
            "swap_in": read_text(self._proc / "vmstat") is not None,
            "throttle": bool(self._throttle_files()),
            "frequency": self._frequency_percent() is not None,
        }

    def before(self) -> tuple[NoiseFlag, ...]:
        """Load at the start, after waiting up to ``wait_s`` for it to fall. 1-minute average."""
        waited = 0.0
        load = self._load()
        while load is not None and load > self._gate.max_load and waited < self._gate.wait_s:
            self._sleep(_POLL_S)
            waited += _POLL_S
            load = self._load()
        return _flag("load", load, self._gate.max_load)

    def after(self) -> tuple[NoiseFlag, ...]:
        """Steal, swapping and throttling since the last call; frequency at the trial's end."""
        now, last = self._counters(), self._last
        ticks = now.all_ticks - last.all_ticks
        steal = None
        if ticks >= _FEWEST_TICKS:
            steal = 100 * (now.steal_ticks - last.steal_ticks) / ticks
        else:  # keep the older ticks, so that a following trial judges the whole window
            now = now._replace(steal_ticks=last.steal_ticks, all_ticks=last.all_ticks)
        self._last = now
        flags = _flag("steal_percent", steal, self._gate.max_steal_percent)
        swapped = now.swap_in_pages - last.swap_in_pages
        flags += _flag("swap_in_pages", swapped, self._gate.max_swap_in_pages)
        flags += _flag("throttled", now.throttles - last.throttles, 0)
        frequency = self._frequency_percent()
        if frequency is not None and frequency < _SLOW_PERCENT:
            flags += (NoiseFlag("frequency_percent", frequency, _SLOW_PERCENT),)
        return flags

    def _load(self) -> float | None:
        text = read_text(self._proc / "loadavg")
        return float(text.split()[0]) if text else None

    def _counters(self) -> _Counters:
        fields = (read_text(self._proc / "stat") or "").splitlines()[:1]
        # user nice system idle iowait irq softirq steal; guest time is already inside user.
        ticks = [int(value) for value in fields[0].split()[1:9]] if fields else []
        swapped = 0
        for line in (read_text(self._proc / "vmstat") or "").splitlines():
            if line.startswith("pswpin "):
                swapped = int(line.split()[1])
        throttles = sum(int(read_text(path) or 0) for path in self._throttle_files())
        return _Counters(ticks[7] if len(ticks) == 8 else 0, sum(ticks), swapped, throttles)

    def _throttle_files(self) -> list[Path]:
        return list(self._cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def _frequency_percent(self) -> float | None:
        """Frequency of the fastest CPU now, relative to what it can do."""
        shares = []
        for folder in self._cpus.glob("cpu[0-9]*/cpufreq"):
            now, most = (
                read_text(folder / "scaling_cur_freq"),
                read_text(folder / "cpuinfo_max_freq"),
            )
            if now and most and int(most) > 0:
                shares.append(100 * int(now) / int(most))
        return max(shares, default=None)


def _flag(name: str, value: float | None, limit: float) -> tuple[NoiseFlag, ...]:
    if value is None or value <= limit:
        return ()
    return (NoiseFlag(name, float(value), float(limit)),)
