"""The noise gate against hand-written /proc and /sys files."""

from pathlib import Path

import pytest

from harness.model.record import NoiseFlag
from harness.model.scenario import NoiseGate
from harness.run.noise import NoiseMonitor


class Machine:
    """A /proc and /sys whose counters a test can turn."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        self.cpu = self.sys / "devices/system/cpu/cpu0"
        (self.cpu / "cpufreq").mkdir(parents=True)
        (self.cpu / "thermal_throttle").mkdir()
        self.proc.mkdir()
        self.load(0.5)
        self.stat(busy=1000, steal=10)
        self.swap(5)
        self.throttle(0)
        self.frequency(3_000_000)

    def load(self, value: float) -> None:
        (self.proc / "loadavg").write_text(f"{value} 0.10 0.20 1/234 567\n")

    def stat(self, busy: int, steal: int) -> None:
        (self.proc / "stat").write_text(
            f"cpu  {busy} 0 0 0 0 0 0 {steal} 777 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"
        )

    def swap(self, pages: int) -> None:
        (self.proc / "vmstat").write_text(f"pgpgin 9\npswpin {pages}\npswpout 99\n")

    def throttle(self, count: int) -> None:
        (self.cpu / "thermal_throttle/core_throttle_count").write_text(f"{count}\n")

    def frequency(self, khz: int) -> None:
        (self.cpu / "cpufreq/scaling_cur_freq").write_text(f"{khz}\n")
        (self.cpu / "cpufreq/cpuinfo_max_freq").write_text("3000000\n")

    def monitor(self, gate: NoiseGate | None = None) -> NoiseMonitor:
        return NoiseMonitor(gate or NoiseGate(), self.proc, self.sys, sleep=lambda _s: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_quiet_machine_raises_no_flag(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.stat(busy=1500, steal=15)
    assert monitor.before() == monitor.after() == ()


def test_load_is_judged_before_the_trial(machine: Machine) -> None:
    machine.load(2.25)
    assert machine.monitor().before() == (NoiseFlag("load", 2.25, 1.5),)


def test_waits_for_the_load_to_fall(machine: Machine) -> None:
    machine.load(9)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            machine.load(0.2)

    monitor = NoiseMonitor(NoiseGate(wait_s=60), machine.proc, machine.sys, sleep)
    assert monitor.before() == ()
    assert len(waits) == 3


def test_waiting_ends(machine: Machine) -> None:
    machine.load(9)
    waits: list[float] = []
    monitor = NoiseMonitor(NoiseGate(wait_s=2), machine.proc, machine.sys, waits.append)
    assert [flag.name for flag in monitor.before()] == ["load"]
    assert sum(waits) == pytest.approx(2)


def test_steal_is_a_share_of_the_window(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.stat(busy=1094, steal=16)  # 6 of 100 ticks
    assert monitor.after() == (NoiseFlag("steal_percent", 6.0, 2.0),)
    machine.stat(busy=1194, steal=16)
    assert monitor.after() == ()


def test_short_windows_add_up(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.stat(busy=1020, steal=16)  # 26 ticks: too few to judge
    assert monitor.after() == ()
    machine.stat(busy=1044, steal=16)  # 50 ticks since the first look, 6 of them stolen
    assert monitor.after() == (NoiseFlag("steal_percent", 12.0, 2.0),)


def test_swapping_throttling_and_a_slow_clock_are_flagged(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.swap(8)
    machine.throttle(2)
    machine.frequency(1_200_000)
    assert monitor.after() == (
        NoiseFlag("swap_in_pages", 3.0, 0.0),
        NoiseFlag("throttled", 2.0, 0.0),
        NoiseFlag("frequency_percent", 40.0, 60.0),
    )
    machine.frequency(3_000_000)
    assert monitor.after() == ()


def test_what_cannot_be_read_is_not_judged_and_said(tmp_path: Path) -> None:
    monitor = NoiseMonitor(NoiseGate(max_load=0), tmp_path, tmp_path)
    assert monitor.before() == monitor.after() == ()
    assert set(monitor.readable().values()) == {False}


def test_readable_says_what_can_be_read(machine: Machine) -> None:
    assert set(machine.monitor().readable().values()) == {True}
