"""The envelope: canonical, bounded, versioned, and never more than a typed error."""

import contextlib
import hashlib

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import binding, bundle, cbor
from harness.framework.evidence.bundle import (
    Evidence,
    ImaPrefix,
    LaunchClaims,
    Quote,
    TeeEvidence,
    decode_evidence,
    encode_evidence,
)

CLAIMS = LaunchClaims("pod", b"ak", b"ek", b"k" * 32, b"host", b"n" * 16)
EVIDENCE = Evidence(
    version=1,
    nonce=b"n" * 32,
    ak_public=b"public",
    quote=Quote(b"attest", b"signature"),
    pcr_values={0: b"0" * 32, 10: b"a" * 32, 23: b"f" * 32},
    boot_log=b"boot",
    ima_log=b"ima",
    issuer_chain=(b"issuer",),
    launch=CLAIMS,
    launch_report=TeeEvidence("csv", b"report", b"certificates"),
)
WIRE = encode_evidence(EVIDENCE)


def with_fields(**changes: object) -> bytes:
    return cbor2.dumps(cbor2.loads(WIRE) | changes, canonical=True)


def test_envelope_survives_and_a_general_decoder_reads_it() -> None:
    assert decode_evidence(WIRE) == EVIDENCE
    fields = cbor2.loads(WIRE)
    assert fields["quote"] == {"attest": b"attest", "signature": b"signature"}
    assert fields["ak_certificate"] is None
    assert set(fields) == set(Evidence.__struct_fields__) - {"ima_prefix", "confirmation_key"}


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (with_fields(version=2), "version 2"),
        (with_fields(ima_prefix=None), "ima_prefix is null"),
        (with_fields(confirmation_key=None), "confirmation_key is null"),
        (with_fields(confirmation_key=bytes(4097)), r"\$.confirmation_key"),
        (with_fields(nonce=b"n" * 15), r"\$.nonce"),
        (with_fields(nonce=b"n" * 65), r"\$.nonce"),
        (with_fields(pcr_values={24: b"0" * 32}), "<= 23"),
        (with_fields(pcr_values={0: b"0" * 31}), "length"),
        (with_fields(boot_log="text"), r"\$.boot_log"),
        (with_fields(extra=1), "unknown field"),
        (with_fields(issuer_chain=[b"c"] * 9), r"\$.issuer_chain"),
        (with_fields(ak_certificate=bytes(16385)), r"\$.ak_certificate"),
        (cbor2.dumps({k: v for k, v in cbor2.loads(WIRE).items() if k != "deep_quote"},
                     canonical=True), "deep_quote"),
        (cbor2.dumps(dict(reversed(cbor2.loads(WIRE).items()))), "canonical"),
        (cbor2.dumps([], canonical=True), "object"),
        (WIRE + b"\0", "follow"),
        (WIRE[:-1], "truncated"),
    ],
)  # fmt: skip
def test_wrong_envelopes_say_what_is_wrong(wire: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem) as caught:
        decode_evidence(wire)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "item",
    [
        b"\x18\x17",  # 23 in two bytes
        b"\x5f\x41a\xff",  # indefinite length
        b"\xa2\x01\x01\x01\x01",  # the same key twice
        b"\xa2\x02\x01\x01\x01",  # keys out of order
        b"\xd8\x23\x61a",  # a tag: regular expression
        b"\x20",  # negative
        b"\xf9\x00\x00",  # float
        b"\xf7",  # undefined
        b"\x61\xff",  # not UTF-8
        b"\x81" * 20 + b"\x00",  # deep
        b"\x9a\xff\xff\xff\xff",  # a length that isn't there
        b"\xba\xff\xff\xff\xff",
        b"\x5b" + b"\xff" * 8,
        b"\x1c",
        b"",
    ],
)
def test_cbor_beyond_the_subset_is_refused(item: bytes) -> None:
    with pytest.raises(ParseError):
        cbor.decode(item, 1000)


def test_cbor_size_is_bounded() -> None:
    with pytest.raises(ParseError, match="at most 3"):
        cbor.decode(cbor.encode(b"abc"), 3)
    assert cbor.decode(cbor.encode(b"abc"), 4) == b"abc"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(_VALUES)
def test_our_decoder_agrees_with_cbor2(value: object) -> None:
    wire = cbor.encode(value)
    with contextlib.suppress(ParseError):  # deeper than we allow
        assert cbor.decode(wire, 1 << 20) == cbor2.loads(wire) == value


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WIRE)), st.binary(max_size=6), st.integers(0, 6))
def test_damaged_envelopes_are_parse_errors_or_decode_to_themselves(
    at: int, noise: bytes, removed: int
) -> None:
    wire = WIRE[:at] + noise + WIRE[at + removed :]
    try:
        decoded = decode_evidence(wire)
    except ParseError:
        return
    assert encode_evidence(decoded) == wire


def test_bindings_are_the_ones_agreed_and_differ_by_purpose() -> None:
    nonce, attest = b"n" * 32, b"attest"
    hashed = hashlib.sha256(nonce).digest() + hashlib.sha256(attest).digest()
    claims = cbor2.dumps(msgspec.to_builtins(CLAIMS, builtin_types=(bytes,)), canonical=True)
    expected = {
        binding.quote_qualifier(nonce): hashlib.sha256(b"attestbench quote v1\0" + nonce),
        binding.quote_qualifier(nonce, attest): hashlib.sha256(
            b"attestbench quote with confirmation key v1\0" + hashed
        ),
        binding.launch_report_data(CLAIMS): hashlib.sha512(b"attestbench launch v1\0" + claims),
        binding.fresh_report_data(nonce, attest, b"b" * 32, b"i" * 32): hashlib.sha512(
            b"attestbench attestation report v2\0" + hashed + b"b" * 32 + b"i" * 32
        ),
        binding.deep_quote_qualifier(nonce, attest): hashlib.sha256(
            b"attestbench deep quote v1\0" + hashed
        ),
        binding.channel_report_data(attest, nonce): hashlib.sha512(
            b"attestbench channel v1\0" + hashed[32:] + hashed[:32]
        ),
    }
    assert all(value == digest.digest() for value, digest in expected.items())
    assert len(expected) == 6


def test_extension_values_round_trip_and_refuse_noise() -> None:
    launch = binding.launch_binding(CLAIMS, b"page", b"m" * 32)
    assert binding.decode_launch_binding(bundle.encode(launch)) == launch
    assert launch.report_sha256 == hashlib.sha256(b"page").digest()
    host = binding.HostBinding("host-a", b"name")
    assert binding.decode_host_binding(bundle.encode(host)) == host
    for decode in (binding.decode_launch_binding, binding.decode_host_binding):
        with pytest.raises(ParseError):
            decode(b"\xa0")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.binary(max_size=300) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 2**33) | st.text(max_size=30), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.data())
def test_exactly_the_canonical_form_is_decoded(value: object, data: st.DataObject) -> None:
    wire = cbor.encode(value)
    assert cbor.decode(wire, 1 << 20) == value
    changed = bytearray(wire)
    changed[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    cut = changed[data.draw(st.integers(0, 2)) :] + data.draw(st.binary(max_size=3))
    with contextlib.suppress(ParseError):
        assert cbor.encode(cbor.decode(bytes(cut), 1 << 20)) == cut


@pytest.mark.parametrize(
    "wire",
    [b"\x18\x17", b"\x19\0\xff", b"\x1a\0\0\xff\xff", b"\x1b" + bytes(4) + b"\xff" * 4,
     b"\x58\1x", b"\xa2\2\0\1\0", b"\xa2\1\0\1\0", b"\xa2\x62aa\0\x61b\0", b"\xb8\1\1\0"],
)  # fmt: skip
def test_longer_heads_and_unsorted_or_doubled_keys_are_refused(wire: bytes) -> None:
    with pytest.raises(ParseError, match="canonical"):
        cbor.decode(wire, 100)


def test_a_part_of_the_list_is_another_version() -> None:
    part = msgspec.structs.replace(EVIDENCE, version=2, ima_prefix=ImaPrefix(7, b"p" * 32))
    wire = encode_evidence(part)
    assert decode_evidence(wire) == part
    assert cbor2.loads(wire)["ima_prefix"] == {"entries": 7, "pcr": b"p" * 32}
    fields = cbor2.loads(wire)
    for change, says in (
        ({"version": 1}, "version 1, expected 2"),
        ({"ima_prefix": None}, "ima_prefix is null"),
        ({"ima_prefix": {"entries": 0, "pcr": b"p" * 32}}, "entries"),
        ({"ima_prefix": {"entries": 7, "pcr": b"p" * 31}}, "pcr"),
    ):
        with pytest.raises(ParseError, match=says):
            decode_evidence(cbor2.dumps({**fields, **change}, canonical=True))
    without = {name: value for name, value in fields.items() if name != "ima_prefix"}
    with pytest.raises(ParseError, match="version 2, expected 1"):
        decode_evidence(cbor2.dumps(without, canonical=True))


def test_a_report_about_a_part_is_not_one_about_a_whole_list() -> None:
    whole = binding.ima_log_digest(b"log", None)
    assert whole == hashlib.sha256(b"log").digest()
    prefixes = [ImaPrefix(7, b"p" * 32), ImaPrefix(8, b"p" * 32), ImaPrefix(7, b"q" * 32)]
    digests = {binding.ima_log_digest(b"log", prefix) for prefix in prefixes}
    assert len(digests | {whole}) == 4
