"""`attestbench attest provision` and `host`: a host and its pods by hand."""

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from harness.cli.attest_service import FOLDER, one_line
from harness.cli.policy_files import read_policy, write_policy
from harness.framework.deployment import Deployment, HostPlatform
from harness.framework.hardware_tpm.hardware_tpm import Issuer
from harness.framework.tpm.keys import AkKind
from harness.framework.verify import Policy
from harness.model.errors import EnvironmentError_, InputError
from harness.workloads.by_hand import RENEWED, PodHost, policy_for


@click.command()
@FOLDER
def provision(directory: Path) -> int:
    """Make and enrol a host in DIRECTORY: hardware TPM stand-in, authority, secure processor."""
    with one_line():
        HostPlatform.provision(directory / "host")
    click.echo(f"{directory}/host: enrolled. Its TPM is a swtpm and its secure processor software.")
    return 0


@click.command()
@FOLDER
@click.option("--instance", "instances", multiple=True, default=("pod-0",), show_default=True)
@click.option("--ak", type=click.Choice(["rsa2048", "ecc256"]), default="ecc256", show_default=True)
@click.option(
    "--issuer",
    type=click.Choice(["attestation-key", "issuing-key"]),
    default="attestation-key",
    show_default=True,
    help="Which key of the hardware TPM signs the vTPMs' certificates.",
)
def host(directory: Path, instances: tuple[str, ...], ak: AkKind, issuer: Issuer) -> int:
    """Launch vTPMs for the pods named by --instance and serve them until interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    host_folder, run_folder = directory / "host", directory / "run"
    with (
        _alone(directory),
        one_line(),
        Deployment(host_folder, run_folder, issuer=issuer) as deployment,
    ):
        pods = {name: deployment.open(name, ak) for name in instances}
        pod_host = PodHost(directory / "pods.sock", pods)
        policy = policy_for(deployment.policy_trust(), pod_host.logs)
        kept = _renew_policy(directory / "policy.json", policy)
        click.echo(f"vTPM service isolated by {deployment.isolation}")
        click.echo(f"policy: {directory}/policy.json (accepts the emulated secure processor){kept}")
        # Whoever reads that it serves may end it at once.
        with contextlib.suppress(KeyboardInterrupt):
            click.echo(f"serving {', '.join(pods)}; end with Ctrl-C")
            pod_host.run()
    return 0


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two hosts in one folder would take each other's sockets and vTPMs away."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "host.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentError_(
                f"{directory}: another `attestbench attest host` runs here; end it first, or name "
                "all pods with --instance"
            ) from None
        yield


def _renew_policy(path: Path, made: Policy) -> str:
    """Renew what the deployment knows in a policy that is there, and keep what its owner set."""
    kept = ""
    if path.exists():
        try:
            own = read_policy(path)
        except InputError as error:
            raise InputError(f"{error}; correct it, or remove it for a new one") from error
        made = msgspec.structs.replace(own, **{name: getattr(made, name) for name in RENEWED})
        kept = "; roots, measurements, CRLs and reference values renewed, the rest kept"
    write_policy(path, made)
    return kept
