"""`attestbench guest`: build what boots in a virtual machine, and show what is built."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

import click

from harness.cli.common import json_option, print_json, text_table
from harness.guest import build, cache
from harness.model.errors import RejectedError

if TYPE_CHECKING:  # rich is imported only where a terminal shows it
    from rich.progress import Progress, TaskID


@click.group()
def guest() -> None:
    """Build and show the kernels and images that guests boot from."""


@guest.command("build", short_help="Build what isn't built yet.")
@click.option("--kernels", "parts", flag_value="kernels", help="Only the two kernels.")
@click.option("--image", "parts", flag_value="image", help="Only agent and images.")
@click.option("--all", "parts", flag_value="all", default=True, help="Everything (the default).")
@json_option
def build_command(parts: str, *, as_json: bool) -> None:
    """Build what isn't built yet: about 9 minutes on two cores the first time, then nothing."""
    signal.signal(signal.SIGTERM, _interrupt)
    built = {}
    with _progress(quiet=as_json) as progress, ThreadPoolExecutor(1) as beside:
        image = None
        if parts != "kernels":
            built["agent"] = build.build_agent()
            progress("building the guest's image", None)
            # Half a minute of fetching and of one core, while the kernels keep both busy.
            image = beside.submit(build.build_image)
        if parts != "image":
            kernels = build.build_kernels(progress)
            built["stock kernel"] = kernels.stock
            built["namespaced kernel"] = kernels.namespaced
        if image is not None:
            built["image"] = image.result()
            for name, path in build.build_container_images().items():
                built[f"container {name}"] = path
    if as_json:
        print_json({name: str(path) for name, path in built.items()})
        return
    for name, path in built.items():
        click.echo(f"{name:<18} {path}")


@guest.command("list", short_help="Show what is built, with digests.")
@json_option
def list_command(*, as_json: bool) -> None:
    """Show what is built, with its digests; exit 1 when a file isn't what was built."""
    found = cache.entries()
    if as_json:
        print_json([_as_json(entry) for entry in found])
    elif not found:
        click.echo(f"nothing is built in {cache.folder()} yet: attestbench guest build")
    else:
        rows = [
            (entry.path.name, name, f"{file.size / 1e6:.1f}", file.sha256)
            for entry in found
            for name, file in entry.files.items()
        ]
        click.echo(text_table(("folder", "file", "MB", "SHA-256"), rows))
        click.echo(f"in {cache.folder()}")
    damaged = [entry.path / name for entry in found for name in entry.damaged()]
    if damaged:
        raise RejectedError(
            f"{damaged[0]} is not what was built; remove its folder, then: attestbench guest build"
        )


@guest.command("clean")
def clean_command() -> None:
    """Remove everything built: it can be built again."""
    for entry in cache.entries():
        cache.remove(entry.path)
        click.echo(f"removed {entry.path}")


def _as_json(entry: cache.Entry) -> dict[str, object]:
    return {"folder": str(entry.path), "inputs": entry.inputs, "files": entry.files}


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[cache.Progress]:
    """Nothing, a bar on a terminal, or a line for each step."""
    if quiet:
        yield cache.silent
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield _Bar(bar)
    else:
        yield _Lines()


class _Lines:
    """Says what begins, and each further fifth of what takes long."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, what: str, share: float | None) -> None:
        step = (what, int((share or 0) * 5))
        if step != self._said:
            self._said = step
            click.echo(f"{what} ({share:.0%})" if share else what, err=True)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, share: float | None) -> None:
        if what not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, total=1, completed=1)
            self._tasks[what] = self._bar.add_task(what, total=None if share is None else 1)
        self._bar.update(self._tasks[what], completed=share or 0)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
