"""`attestbench attest serve`, `state` and `revoke`: the verifier as a service."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from harness.cli.common import json_option, print_json, text_table
from harness.cli.policy_files import read_policy, write_policy
from harness.framework.errors import FrameworkError, PolicyError
from harness.framework.host.platform import HostPlatform
from harness.framework.service import keys
from harness.framework.service.settings import Limits, Settings
from harness.model.errors import EnvironmentError_, InputError

if TYPE_CHECKING:  # the database takes as long to load as all other commands of `attest`
    from harness.framework.service.store import Standing, Store

_FILE = click.Path(path_type=Path, dir_okay=False)
_SQLITE = "sqlite:///"
# An algorithm id, then a digest of that size (TPM 2.0 Library Part 1, §16).
_NAME_BYTES = {0x000B: 34, 0x000C: 50, 0x000D: 66}
FOLDER = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
_STATE = click.option(
    "--state",
    "url",
    help="sqlite:///FILE or postgresql://…; DIRECTORY/verifier/state.sqlite if not given.",
)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """The framework's errors as ours."""
    try:
        yield
    except PolicyError as error:
        raise InputError(str(error)) from error
    except FrameworkError as error:
        raise EnvironmentError_(str(error)) from error


@click.command()
@FOLDER
@click.option("--policy", type=_FILE, help="Read again when it changes.  [DIRECTORY/policy.json]")
@click.option("--listen", default="127.0.0.1:8443", show_default=True, help="HOST:PORT")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@_STATE
@click.option("--certificate", type=_FILE, help="For TLS (PEM); made to try out if not given.")
@click.option("--certificate-key", type=_FILE, help="Its private key (PEM).")
@click.option("--client-ca", type=_FILE, help="Attesters must have a certificate of it (PEM).")
@click.option("--signing-key", type=_FILE, help="P-256 key (PEM) of results; made if not given.")
@click.option("--challenge-lifetime", type=click.IntRange(1, 3600), default=60)
@click.option("--max-pending", type=click.IntRange(1), default=64, help="Requests of each worker.")
@click.option("--max-evidence", type=click.IntRange(1024), help="Bytes.  [32 MiB]")
def serve(
    directory: Path,
    policy: Path | None,
    listen: str,
    workers: int,
    url: str | None,
    certificate: Path | None,
    certificate_key: Path | None,
    client_ca: Path | None,
    signing_key: Path | None,
    challenge_lifetime: float,
    max_pending: int,
    max_evidence: int | None,
) -> int:
    """Verify evidence over HTTPS until interrupted: challenge, evidence, signed result.

    What isn't given is kept in DIRECTORY/verifier.
    """
    # Only here: the other commands don't need a web server.
    from harness.framework.service.server import serve as serve_https

    host, port = _address(listen)
    limits = Limits(challenge_s=challenge_lifetime, max_pending=max_pending)
    if max_evidence is not None:
        limits = msgspec.structs.replace(limits, max_evidence=max_evidence)
    home = directory / "verifier"
    with one_line():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        tls = _tls_files(home, certificate, certificate_key, host)
        settings = Settings(
            policy=policy or directory / "policy.json",
            state=url or _default_state(directory),
            certificate=tls[0],
            certificate_key=tls[1],
            signing_key=signing_key or _signing_key(home),
            client_ca=client_ca,
            limits=limits,
        )
        serve_https(settings, host, port, workers, _say(settings, workers))
    return 0


@click.command()
@FOLDER
@_STATE
@json_option
def state(directory: Path, url: str | None, *, as_json: bool) -> int:
    """Show what a service remembers: each instance's last accepted evidence, and revocations."""
    with one_line():
        store = _open(directory, url)
        standings, revocations = store.standings(), store.revocations()
    if as_json:
        revoked = [{**msgspec.structs.asdict(r), "name": r.name.hex()} for r in revocations]
        print_json({"instances": [_shown(one) for one in standings], "revocations": revoked})
        return 0
    rows = [
        [
            one.instance, one.record.host, str(one.version), _time(one.accepted_s),
            str(one.record.previous.ima_entries), "revoked" if one.revoked else "",
            one.record.previous.ak_name.hex(),
        ]
        for one in standings
    ]  # fmt: skip
    header = ["instance", "host", "accepted", "last", "IMA entries", "", "attestation key"]
    click.echo(text_table(header, rows))
    if revocations:
        rows = [[r.kind, _time(r.revoked_s), r.name.hex()] for r in revocations]
        click.echo("\n" + text_table(["revoked", "when", "TPM Name"], rows))
    return 0


@click.command()
@FOLDER
@_STATE
@click.option("--instance", help="Revoke the key with which this one was last accepted.")
@click.option("--ak", help="Revoke a vTPM's attestation key by its TPM Name (hex).")
@click.option("--host-key", help="Revoke a host's TPM by the TPM Name of its key (hex).")
def revoke(
    directory: Path, url: str | None, instance: str | None, ak: str | None, host_key: str | None
) -> int:
    """Revoke a key in a service's state, or the host in DIRECTORY by the authority's list.

    Without an option: the host's certificate, and policy.json gets the new list. All of it counts
    from the next attestation on.
    """
    if sum(option is not None for option in (instance, ak, host_key)) > 1:
        raise InputError("expected one of --instance, --ak and --host-key")
    if instance is ak is host_key is None:
        return _revoke_host(directory)
    given = ak or host_key
    name = None if given is None else _name("--ak" if ak else "--host-key", given)
    with one_line():
        store = _open(directory, url)
        if name is None:
            standing = store.standing(instance or "")
            if standing is None:
                raise InputError(f"--instance: nothing was ever accepted from {instance!r}")
            name = standing.record.previous.ak_name
        new = store.revoke(name, "host" if host_key else "key", time.time())
    click.echo(f"{name.hex()}: {'revoked' if new else 'was revoked already'}")
    return 0


def _revoke_host(directory: Path) -> int:
    path = directory / "policy.json"
    rules = read_policy(path)
    with one_line():
        platform = HostPlatform(directory / "host")
        platform.revoke()
        renewed = msgspec.structs.replace(rules, crls=(platform.authority.crl(),))
    write_policy(path, renewed)
    click.echo(f"{directory}/host: revoked; {path} holds the new list")
    return 0


def _open(directory: Path, url: str | None) -> "Store":
    from harness.framework.service.store import Store

    file = directory / "verifier" / "state.sqlite"
    if url is not None and url.startswith(_SQLITE):
        file = Path(url.removeprefix(_SQLITE))
    if (url is None or url.startswith(_SQLITE)) and not file.exists():
        raise InputError(
            f"{file}: no state; run `attestbench attest serve {directory}` first, "
            "or say with --state where it is"
        )
    return Store(url or _default_state(directory), durable=True)


def _default_state(directory: Path) -> str:
    return f"sqlite:///{(directory / 'verifier' / 'state.sqlite').resolve()}"


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--listen: got {listen!r}, expected HOST:PORT, such as 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _tls_files(
    home: Path, certificate: Path | None, key: Path | None, host: str
) -> tuple[Path, Path]:
    if (certificate is None) != (key is None):
        raise InputError("--certificate and --certificate-key: expected both or neither")
    if certificate is not None and key is not None:
        return certificate, key
    made = home / "tls.pem", home / "tls.key"
    if not made[1].exists():
        keys.make_certificate(*made, keys.own_names(host))
        click.echo(f"TLS: no certificate given; made a self-signed one to try out: {made[0]}")
    return made


def _signing_key(home: Path) -> Path:
    path = home / "results.key"
    if not path.exists():
        key = keys.make_signing_key(path)
        (home / "results.pub").write_bytes(keys.public_pem(key))
        click.echo(f"results: made a signing key; clients pin {home / 'results.pub'}")
    return path


def _say(settings: Settings, workers: int) -> Any:
    def ready(url: str) -> None:
        print_ = keys.fingerprint(settings.certificate)
        click.echo(f"TLS certificate: {settings.certificate}, SHA-256 {print_}")
        click.echo(f"serving {url} with {workers} worker processes; end with Ctrl-C")

    return ready


def _shown(one: "Standing") -> dict[str, Any]:
    previous = msgspec.structs.asdict(one.record.previous)
    return {
        "instance": one.instance, "host": one.record.host, "host_key": one.record.host_key.hex(),
        "accepted": one.version, "last_s": one.accepted_s, "revoked": one.revoked,
        **previous, "ak_name": one.record.previous.ak_name.hex(),
    }  # fmt: skip


def _name(option: str, text: str) -> bytes:
    try:
        name = bytes.fromhex(text)
    except ValueError:
        name = b""
    if len(name) != _NAME_BYTES.get(int.from_bytes(name[:2])):
        raise InputError(
            f"{option}: got {text[:140]!r}, expected a TPM Name in hex: 000b and a SHA-256 digest, "
            "or 000c or 000d and a longer one"
        )
    return name


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
