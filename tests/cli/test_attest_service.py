"""The service from the command line, by real pods: serve, attest, state, revoke."""

import base64
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

COMMAND = (sys.executable, "-m", "harness.cli.main", "attest")


def attest(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *(str(part) for part in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


class Served(NamedTuple):
    folder: Path
    url: str
    said: str

    def attest(self, *more: object) -> subprocess.CompletedProcess[str]:
        files = self.folder / "verifier" / "tls.pem", self.folder / "verifier" / "results.pub"
        options = ("--verifier", self.url, "--ca", files[0], "--result-key", files[1])
        return attest("attest", self.folder, *options, *more)


def start(until: str, *arguments: object) -> tuple[subprocess.Popen[str], str]:
    command = [*COMMAND, *(str(part) for part in arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    said = ""
    while until not in said:
        line = process.stdout.readline()
        assert line, f"{arguments[0]} ended: {said}"
        said += line
    return process, said


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    # Not pytest's own folder: unix sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        assert attest("provision", folder).returncode == 0
        host, _ = start("serving", "host", folder, "--instance", "pod-0", "--instance", "pod-1")
        verifier, said = start("serving", "serve", folder, "--listen", "127.0.0.1:0")
        yield Served(Path(folder), re.findall(r"https://\S+", said)[0], said)
        for process in (verifier, host):
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def test_a_pod_is_attested_again_and_again(served: Served) -> None:
    for _ in range(2):
        done = served.attest()
        assert done.returncode == 0, done.stderr
        assert (
            f"{served.url}: accepted (TEE trust emulated): pod-0 on host-0, 25 IMA entries"
            in done.stdout
        )
    claims = json.loads(served.attest("--json").stdout)
    assert claims["submods"]["vtpm"]["attestbench.instance"] == "pod-0"
    assert claims["submods"]["vtpm"]["attestbench.ima-entries"] == 25


def test_the_result_names_the_key_that_its_presenter_must_prove(
    served: Served, tmp_path: Path
) -> None:
    """The claim is the key that OpenSSL made, number by number."""
    private, public = tmp_path / "pod.key", tmp_path / "pod.pub"
    make = ("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private))
    subprocess.run(make, check=True, capture_output=True)
    show = ("openssl", "ec", "-in", str(private), "-pubout")
    public.write_bytes(subprocess.run(show, check=True, capture_output=True).stdout)
    assert "cnf" not in json.loads(served.attest("--json").stdout)
    claims = json.loads(served.attest("--json", "--confirmation-key", public).stdout)
    jwk = claims["cnf"]["jwk"]
    assert (jwk["kty"], jwk["crv"]) == ("EC", "P-256")
    told = subprocess.run((*show, "-text"), check=True, capture_output=True, text=True).stdout
    point = re.sub(r"[\s:]", "", told.partition("pub:")[2].partition("ASN1")[0])
    x, y = (base64.urlsafe_b64decode(jwk[name] + "=").hex() for name in "xy")
    assert point == "04" + x + y
    refused = served.attest("--confirmation-key", private)
    assert refused.returncode == 2
    assert "expected a P-256 public key in PEM" in refused.stderr


def test_a_result_that_another_key_signed_is_a_rejection(served: Served, tmp_path: Path) -> None:
    private, public = tmp_path / "other.key", tmp_path / "other.pub"
    make = ("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private))
    subprocess.run(make, check=True, capture_output=True)
    show = ("openssl", "ec", "-in", str(private), "-pubout")
    public.write_bytes(subprocess.run(show, check=True, capture_output=True).stdout)
    done = served.attest("--result-key", public)
    assert done.returncode == 1
    assert f"{served.url}: the result isn't signed by the pinned key" in done.stderr


def test_a_second_host_in_the_same_folder_is_refused(served: Served) -> None:
    done = attest("host", served.folder, "--instance", "pod-9")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert f"{served.folder}: another `attestbench attest host` runs here" in done.stderr
    assert served.attest().returncode == 0


def test_a_truncated_name_is_not_taken_for_a_key(served: Served) -> None:
    for name in ("00", "000b" + "ab" * 31, "0004" + "ab" * 20):
        done = attest("revoke", served.folder, "--ak", name)
        assert done.returncode == 2
        assert "expected a TPM Name in hex" in done.stderr


def test_what_was_made_to_try_out_is_said(served: Served) -> None:
    shown = re.findall(r"SHA-256 ([0-9a-f]{64})", served.said)
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in"]
    tls = served.folder / "verifier" / "tls.pem"
    printed = subprocess.run([*command, str(tls)], capture_output=True, text=True, check=True)
    assert printed.stdout.strip().rpartition("=")[2].replace(":", "").lower() == shown[0]
    for name in ("tls.key", "results.key", "state.sqlite"):
        assert (served.folder / "verifier" / name).stat().st_mode & 0o077 == 0, name


def test_state_shows_it_and_a_revoked_key_is_refused_from_then_on(served: Served) -> None:
    assert served.attest("--instance", "pod-1").returncode == 0
    state = json.loads(attest("state", served.folder, "--json").stdout)
    shown = {one["instance"]: one for one in state["instances"]}["pod-1"]
    assert (shown["host"], shown["ima_entries"], shown["revoked"]) == ("host-0", 25, False)
    assert attest("revoke", served.folder, "--instance", "pod-1").returncode == 0
    done = served.attest("--instance", "pod-1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "chain.ak.revoked" in done.stderr
    text = attest("state", served.folder).stdout
    assert re.search(rf"pod-1 .* revoked +{shown['ak_name']}", text)
    again = attest("revoke", served.folder, "--ak", shown["ak_name"])
    assert "was revoked already" in again.stdout


def test_a_host_is_revoked_by_its_authority_or_by_the_service(served: Served) -> None:
    assert served.attest().returncode == 0
    policy = served.folder / "policy.json"
    before = policy.read_bytes()
    assert attest("revoke", served.folder).returncode == 0
    listed = served.attest()
    policy.write_bytes(before)
    assert listed.returncode == 1
    assert "chain.revoked" in listed.stderr
    state = json.loads(attest("state", served.folder, "--json").stdout)
    host_key = state["instances"][0]["host_key"]
    assert attest("revoke", served.folder, "--host-key", host_key).returncode == 0
    assert "chain.host.revoked" in served.attest().stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("attest", "/nowhere"), 2, "expected --out FILE for the evidence, or --verifier URL"),
        (("attest", "/nowhere", "--verifier", "https://x"), 2, "needs --ca and --result-key"),
        (("state", "/nowhere"), 2, "no state; run `attestbench attest serve /nowhere`"),
        (("revoke", "/nowhere", "--ak", "zz", "--state", "sqlite:////tmp/x/y"), 2, "a TPM Name"),
        (("revoke", "/nowhere", "--ak", "00", "--host-key", "00"), 2, "expected one of"),
        (("revoke", "/nowhere"), 2, "/nowhere/policy.json: cannot be read"),
        (("state", "/nowhere", "--state", "sqlite:////nowhere/x"), 2, "/nowhere/x: no state"),
        (("serve", "/nowhere", "--challenge-lifetime", "nan"), 2, "not a valid integer"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = attest(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert says in done.stderr
