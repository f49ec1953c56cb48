"""Bodies that no honest client sends get an answer that says so, and never an internal error."""

import pytest

from .running import Running

HOSTILE = {
    "not UTF-8": b'{"instance":"pod\xa4"}',
    "nested": b'{"instance":' + b"[" * 4000,
    "nested below an unknown name": b'{"x":' + b"[" * 4000,
    "cut off": b'{"instance":"po',
    "no object": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_challenge_is_asked_for_in_good_form(service: Running, body: bytes) -> None:
    reply = service.request("POST", "/v1/challenges", body, "application/json")
    assert reply.status == 400, reply
    assert reply.headers["content-type"] == "application/problem+json"
