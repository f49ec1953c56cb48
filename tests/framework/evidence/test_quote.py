"""TPM structures from a real swtpm, judged also by tpm2_checkquote and OpenSSL; then noise."""

import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import quote, tpm_public

ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"
NONCE = bytes(range(32))
SELECTION = "sha256:0,1,2,3,4,5,6,7,8,9,10"


class RealQuote(NamedTuple):
    """What tpm2-tools wrote for one key."""

    directory: Path
    public: bytes
    name: bytes
    attest: bytes
    signature: bytes
    pcrs: list[bytes]


Tool = Callable[..., bytes]


@pytest.fixture(scope="session")
def tpm() -> Iterator[Tool]:
    """Runs a tpm2-tools command against a fresh swtpm."""
    # Sockets of swtpm must have short paths, which pytest's temporary folders need not have.
    state = Path(tempfile.mkdtemp(prefix="swtpm-"))
    socket = state / "sock"
    command = [
        "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
        "--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl",
        "--flags", "not-need-init,startup-clear",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    environment = os.environ | {"TPM2TOOLS_TCTI": f"swtpm:path={socket}"}

    def run(*arguments: str | Path, check: bool = True) -> bytes:
        done = subprocess.run(arguments, env=environment, capture_output=True, check=False)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout

    try:
        deadline = time.monotonic() + 10
        while not Path(f"{socket}.ctrl").exists():
            assert time.monotonic() < deadline, "swtpm did not start"
            time.sleep(0.01)
        yield run
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(state)


@pytest.fixture(
    scope="session",
    params=["ecc256:ecdsa-sha256", "rsa2048:rsassa-sha256", "rsa2048:rsapss-sha256"],
)
def real(
    tpm: Tool, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> RealQuote:
    out = tmp_path_factory.mktemp("quote")
    tpm("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", out / "srk.ctx")
    tpm("tpm2_create", "-Q", "-C", out / "srk.ctx", "-G", f"{request.param}:null", "-a", ATTRIBUTES,
        "-u", out / "ak.pub", "-r", out / "ak.priv")  # fmt: skip
    tpm("tpm2_flushcontext", "-t")
    tpm("tpm2_load", "-Q", "-C", out / "srk.ctx", "-u", out / "ak.pub", "-r", out / "ak.priv",
        "-c", out / "ak.ctx", "-n", out / "name")  # fmt: skip
    tpm("tpm2_flushcontext", "-t")  # only three objects fit
    tpm("tpm2_readpublic", "-Q", "-c", out / "ak.ctx", "-f", "pem", "-o", out / "ak.pem")
    tpm("tpm2_flushcontext", "-t")
    tpm("tpm2_pcrextend", f"4:sha256={'ab' * 32}")
    # The tool asks for RSASSA unless told, and the TPM then refuses for a key of another scheme.
    scheme = request.param.partition(":")[2].partition("-")[0]
    tpm("tpm2_quote", "-Q", "-c", out / "ak.ctx", "-l", SELECTION, "-q", NONCE.hex(),
        "--scheme", scheme, "-m", out / "attest", "-s", out / "signature")  # fmt: skip
    tpm("tpm2_pcrread", "-Q", SELECTION, "-o", out / "pcrs")
    tpm("tpm2_flushcontext", "-t")
    values = (out / "pcrs").read_bytes()
    return RealQuote(
        out,
        (out / "ak.pub").read_bytes()[2:],  # TPM2B_PUBLIC without its size
        (out / "name").read_bytes(),
        (out / "attest").read_bytes(),
        (out / "signature").read_bytes(),
        [values[at : at + 32] for at in range(0, len(values), 32)],
    )


@pytest.mark.oracle
def test_public_area_is_what_the_tpm_says(real: RealQuote) -> None:
    public = tpm_public.parse_public(real.public)
    assert public.name == real.name
    pem = load_pem_public_key((real.directory / "ak.pem").read_bytes())
    assert public.key == pem
    wanted = tpm_public.FIXED_TPM | tpm_public.RESTRICTED | tpm_public.SIGN
    assert public.attributes & (wanted | tpm_public.DECRYPT) == wanted


@pytest.mark.oracle
def test_quote_verifies_and_any_flipped_byte_does_not(real: RealQuote) -> None:
    public = tpm_public.parse_public(real.public)
    signature = tpm_public.parse_signature(real.signature)
    assert tpm_public.scheme_allowed(public, signature)
    assert tpm_public.verify_signature(public.key, real.attest, signature)
    info = quote.parse_quote(real.attest)
    assert info.extra_data == NONCE
    assert info.selections == (quote.PcrSelection(tpm_public.ALG_SHA256, tuple(range(11))),)
    assert quote.pcr_digest(real.pcrs, signature.hash_id) == info.pcr_digest
    assert any(real.pcrs[4])
    for at in range(0, len(real.attest), 7):
        flipped = real.attest[:at] + bytes([real.attest[at] ^ 4]) + real.attest[at + 1 :]
        assert not tpm_public.verify_signature(public.key, flipped, signature)


@pytest.mark.oracle
def test_tpm2_checkquote_agrees(real: RealQuote, tpm: Tool) -> None:
    if tpm_public.parse_signature(real.signature).scheme == tpm_public.ALG_RSAPSS:
        pytest.skip("tpm2_checkquote 5.4 cannot check RSAPSS")

    def accepted(nonce: bytes, attest: bytes) -> bool:
        (real.directory / "checked").write_bytes(attest)
        command = [
            "tpm2_checkquote", "-u", "ak.pem", "-m", "checked", "-s", "signature",
            "-g", "sha256", "-q", nonce.hex(),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=real.directory, capture_output=True, check=False)
        return done.returncode == 0

    public = tpm_public.parse_public(real.public)
    signature = tpm_public.parse_signature(real.signature)
    flipped = real.attest[:-1] + bytes([real.attest[-1] ^ 1])
    assert accepted(NONCE, real.attest)
    assert not accepted(bytes(32), real.attest)
    assert accepted(NONCE, flipped) == tpm_public.verify_signature(public.key, flipped, signature)


def test_signature_of_another_scheme_or_hash_is_not_allowed(real: RealQuote) -> None:
    public = tpm_public.parse_public(real.public)
    good = tpm_public.parse_signature(real.signature)
    for bad in (good._replace(hash_id=tpm_public.ALG_SHA1), good._replace(scheme=0x1B)):
        assert not tpm_public.scheme_allowed(public, bad)
        assert not tpm_public.verify_signature(public.key, real.attest, bad)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("0008000b00000000000000100010", "key type"),
        ("0001000b000000000000001000100800" + "00000000" + "0001" + "05", "RSA key of 2048"),
        ("0023000b0000000000000010001000030010" + "0001" + "05" + "0001" + "06", "not a point"),
        ("0023000b0000000000000010001000990010" + "0001" + "05" + "0001" + "06", "curve 0x0099"),
        ("", "truncated"),
    ],
)
def test_unusable_public_areas(raw: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        tpm_public.parse_public(bytes.fromhex(raw))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_parsers_raise_only_parse_errors(real: RealQuote, data: st.DataObject) -> None:
    cases = [
        (tpm_public.parse_public, real.public),
        (tpm_public.parse_signature, real.signature),
        (quote.parse_quote, real.attest),
        (quote.attest_header, real.attest),
    ]
    parse, good = data.draw(st.sampled_from(cases))
    at = data.draw(st.integers(0, len(good)))
    noise = data.draw(st.binary(max_size=5))
    raw = good[:at] + noise + good[at + data.draw(st.integers(0, 5)) :]
    with contextlib.suppress(ParseError):
        parse(raw)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_usual_form_is_read_as_field_by_field(data: st.DataObject) -> None:
    """Bytes of a quote with the usual sizes, changed: both ways give the same or refuse alike."""
    usual = struct.pack(
        ">IHH34sH32sQIIBQIHB3sH32s",
        quote.TPM_GENERATED, quote.ST_ATTEST_QUOTE, 34, b"n" * 34, 32, b"x" * 32,
        data.draw(st.integers(0, 2**64 - 1)), 7, 8, data.draw(st.integers(0, 2)), 9, 1, 11, 3,
        data.draw(st.binary(min_size=3, max_size=3)), 32, b"d" * 32,
    )  # fmt: skip
    raw = bytearray(usual)
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    def outcome() -> object:
        try:
            return quote.parse_quote(bytes(raw))
        except ParseError as error:
            return str(error)

    read = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quote, "_parse_usual", lambda _attest: None)
        assert outcome() == read


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**256 - 1) | st.integers(0, 2**130),
    st.integers(0, 2**256 - 1) | st.integers(0, 2**8),
)
def test_a_usual_ecdsa_signature_becomes_the_der_that_the_library_makes(r: int, s: int) -> None:
    raw = struct.pack(">HHH32sH32s", 0x18, 0xB, 32, r.to_bytes(32), 32, s.to_bytes(32))
    signature = tpm_public.parse_signature(raw)
    assert signature == (0x18, 0xB, encode_dss_signature(r, s))
    # The same numbers with sizes of their own take the other way.
    longer = struct.pack(">HHH33sH32s", 0x18, 0xB, 33, r.to_bytes(33), 32, s.to_bytes(32))
    assert tpm_public.parse_signature(longer) == signature
