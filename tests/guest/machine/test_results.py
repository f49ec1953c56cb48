"""What a guest may say, and what is refused before it costs memory."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.machine.results import GuestOutputError, GuestResults, Query

GOOD = b"""sample host.exec.first.4KiB warmup 0 348328
sample host.exec.first.4KiB measured 0 339750
count ima.entries.pcr10 41
note ran.A app1 app2
file ima_log 5
aGVsbG8=
end
DONE
"""


def taken(output: bytes) -> GuestResults:
    results = GuestResults()
    results.take_all(output)
    return results


def test_a_whole_output() -> None:
    results = taken(GOOD)
    assert results.done
    assert not results.failure
    assert [(one.part, one.phase, one.number, one.value) for one in results.samples] == [
        ("host.exec.first.4KiB", "warmup", 0, 348328),
        ("host.exec.first.4KiB", "measured", 0, 339750),
    ]
    assert results.counts == {"ima.entries.pcr10": 41}
    assert results.notes == {"ran.A": "app1 app2"}
    assert results.named("ima_log") == [b"hello"]


def test_an_output_that_was_cut_off_is_not_done() -> None:
    assert not taken(GOOD[:-1]).done


def test_the_first_complaint_is_kept() -> None:
    results = taken(b"fail no TPM\n\nfail a directive ran longer than its time limit\n")
    assert results.failure == "no TPM"


def test_questions_are_returned_to_be_answered() -> None:
    results = GuestResults()
    assert results.take(b"nonce?") == Query("nonce")
    assert results.take(b"more?") == Query("more")
    assert results.take(b"report? " + b"ab" * 64) == Query("report", b"\xab" * 64)


@pytest.mark.parametrize(
    "output",
    [
        b"sample a measured 0 -1\n",
        b"sample a measured 0 9223372036854775808\n",
        b"sample a later 0 1\n",
        b"sample ../a measured 0 1\n",
        b"sample a measured 0\n",
        b"count a 1 2\n",
        b"count a 1e3\n",
        b"file ../x 3\n",
        b"file x 99999999999\n",
        b"file x 3\naGVsbG8=\nend\n",
        b"file x 5\nnot base64!\nend\n",
        b"file x 5\naGVs\nend\n",
        b"report? 00\n",
        b"nonce?\n",
        b"hello\n",
        b"DONE\nsample a measured 0 1\n",
        b"\xff\n",
        b"note a " + b"x" * 400 + b"\n",
    ],
)
def test_what_the_protocol_does_not_have_is_refused(output: bytes) -> None:
    with pytest.raises(GuestOutputError):
        taken(output)


@given(st.binary(max_size=2000))
def test_files_arrive_as_they_were_sent(content: bytes) -> None:
    text = base64.encodebytes(content)
    assert taken(b"file f %d\n%send\n" % (len(content), text)).named("f") == [content]


@given(st.binary(max_size=400))
def test_nothing_but_refusal_can_happen(output: bytes) -> None:
    results = GuestResults()
    try:
        results.take_all(output)
    except GuestOutputError:
        return
    assert len(results.samples) <= output.count(b"\n")
