"""A stand-in for a hardware TPM: a swtpm whose EK certificate a local manufacturer CA issued."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.errors import FrameworkError

_TIMEOUT_S = 60


def manufacture(directory: Path) -> None:
    """Make a TPM's state in ``directory/tpm`` and its manufacturer in ``directory/manufacturer``.

    Raises ``FrameworkError`` when swtpm_setup is missing or fails.
    """
    for program in ("swtpm_setup", "swtpm_localca"):
        if shutil.which(program) is None:
            raise FrameworkError(
                f"{program} is not installed; run `make setup` or install swtpm-tools"
            )
    manufacturer, tpm = directory / "manufacturer", directory / "tpm"
    for folder in (manufacturer, tpm):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (manufacturer / "localca.conf").write_text(
        f"statedir = {manufacturer}\n"
        f"signingkey = {manufacturer}/signkey.pem\n"
        f"issuercert = {manufacturer}/issuercert.pem\n"
        f"certserial = {manufacturer}/certserial\n"
    )
    (manufacturer / "localca.options").write_text(
        "--platform-manufacturer attestbench\n--platform-version 1\n--platform-model stand-in\n"
    )
    (manufacturer / "setup.conf").write_text(
        f"create_certs_tool={shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config={manufacturer}/localca.conf\n"
        f"create_certs_tool_options={manufacturer}/localca.options\n"
    )
    descriptor = os.open(chip_key(directory), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    done = subprocess.run(
        [
            "swtpm_setup", "--tpm2", "--tpmstate", f"dir://{tpm}",
            "--config", str(manufacturer / "setup.conf"),
            "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite",
            "--keyfile", str(chip_key(directory)), "--cipher", "aes-256-cbc",
        ],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no output"]
        raise FrameworkError(f"swtpm_setup could not make a TPM in {tpm}: {last[0]}")


def chip_key(directory: Path) -> Path:
    """The file whose key encrypts the stand-in's state, as a chip's package would."""
    return directory / "chip.key"


def manufacturer_chain(directory: Path) -> tuple[bytes, bytes]:
    """The manufacturer's issuing certificate and its root (DER)."""
    folder = directory / "manufacturer"
    try:
        issuer = x509.load_pem_x509_certificate((folder / "issuercert.pem").read_bytes())
        root_file = next(folder.glob("*rootca*cert.pem"))
        root = x509.load_pem_x509_certificate(root_file.read_bytes())
    except (OSError, ValueError, StopIteration) as error:
        raise FrameworkError(f"{folder}: holds no manufacturer CA: {error}") from error
    return issuer.public_bytes(Encoding.DER), root.public_bytes(Encoding.DER)
