"""Entry point: finds the verb, and turns every error into one line and an exit code."""

import os
import sys
import traceback
from importlib import import_module
from typing import NamedTuple

import click

from harness.model.errors import AttestbenchError, EnvironmentError_
from harness.scenario.errors import nearest

INTERRUPTED = 130


class Verb(NamedTuple):
    """Where a verb lives. Modules are imported when used: `run` must start at once."""

    module: str
    attribute: str
    help: str


VERBS = {
    "doctor": Verb("doctor", "doctor", "Show what this machine can run and what is missing."),
    "scenario": Verb("scenario_cmd", "scenario", "List and check scenario files."),
    "plan": Verb("plan", "plan", "Show cells, blocks, time and detectable effect."),
    "run": Verb("run", "run", "Run a scenario, or resume it."),
    "status": Verb("status", "status", "Show where campaigns stand."),
    "verify": Verb("verify_store", "verify", "Check the integrity of a results folder."),
    "report": Verb("report", "report", "Estimate and render the report."),
    "attest": Verb("attest", "attest", "The framework by hand: provision, host, attest, verify."),
    "guest": Verb("guest", "guest", "Build the kernels and images that guests boot from."),
    "export": Verb("export", "export", "Write trials, samples, estimates and attacks as tables."),
}


class VerbGroup(click.Group):
    """Imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Verbs in the order in which one needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command of a verb; UsageError proposes the nearest name when it is unknown."""
        if cmd_name not in VERBS:
            hint = nearest(cmd_name, VERBS) or f"; expected one of: {', '.join(VERBS)}"
            raise click.UsageError(f'no verb "{cmd_name}"{hint}', ctx)
        verb = VERBS[cmd_name]
        try:
            command = getattr(import_module(f"harness.cli.{verb.module}"), verb.attribute)
        except (ImportError, OSError) as error:
            reason = " ".join(str(error).split())
            raise EnvironmentError_(
                f"`attestbench {cmd_name}` cannot start: {reason}; "
                "`attestbench doctor` shows what is missing"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from harness.run.provenance import own_version

        click.echo(f"attestbench {own_version()}")
        ctx.exit()


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Benchmark and evaluate the remote attestation of confidential containers.

    Exit codes: 0 good, 1 rejected, 2 wrong input, 3 undecided, 4 the machine lacks something.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(invoke(arguments))


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        result = cli.main(arguments, prog_name="attestbench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except AttestbenchError as error:
        _show_traceback()
        _complain(str(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _show_traceback()
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}; check that it can be read and written")
        return EnvironmentError_.exit_code
    except Exception as error:  # the last place that can still say it in one line
        _show_traceback()
        _complain(
            f"unexpected {type(error).__name__}: {error} "
            "(set ATTESTBENCH_DEBUG=1 for the traceback; please report it)"
        )
        return 70
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    click.echo(f"attestbench: error: {' '.join(message.split())}", err=True)


def _show_traceback() -> None:
    if os.environ.get("ATTESTBENCH_DEBUG"):
        traceback.print_exc()


if __name__ == "__main__":
    main()
