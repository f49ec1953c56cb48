"""Every kind of wrong scenario file ends in one line that names file, key and expectation."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli.main import invoke
from harness.model.errors import InputError
from harness.scenario import load_scenario, parse_scenario
from harness.scenario.parse import MAX_FILE_BYTES

GOOD = """\
name = "good"
title = "A good scenario"
seed = 7
backend = "process"
baseline = "software-tpm"

[[arms]]
name = "software-tpm"
kind = "software-tpm"

[[arms]]
name = "framework"
kind = "framework"

[[workloads]]
name = "attestation"
kind = "attestation"
iterations = 60
warmup = 5
blocks = 12
[workloads.factors]
ak = ["rsa2048", "ecc256"]
ima_entries = [500, 2000]

[[claims]]
id = "main"
title = "The framework costs about 10 %"
workload = "attestation"
metric = "attestation_latency_ns"
part = "total"
candidate = "framework"
kind = "equivalent"
low = 0.08
high = 0.12
[claims.factors]
ak = "rsa2048"
ima_entries = 2000
"""


class Wrong(NamedTuple):
    name: str
    old: str
    new: str
    key: str
    says: tuple[str, ...]


WRONG = [
    Wrong("broken toml", "seed = 7", "seed = ", "not valid TOML", ("line 3",)),
    Wrong("key twice", "seed = 7", "seed = 7\nseed = 8", "not valid TOML", ("line 4",)),
    Wrong("missing key", "seed = 7\n", "", "seed:", ("missing", "an integer >= 0")),
    Wrong("unknown key", "warmup = 5", "warm_up = 5", "workloads[0].warm_up:", ('"warmup"',)),
    Wrong("unknown top key", "seed = 7", "sed = 7", "sed:", ("unknown key", '"seed"')),
    Wrong(
        "string for integer", "iterations = 60", 'iterations = "ten"', "workloads[0].iterations:",
        ('got "ten" (string)', "an integer >= 1"),
    ),
    Wrong(
        "boolean for integer", "iterations = 60", "iterations = true", "workloads[0].iterations:",
        ("got true (boolean)", "an integer"),
    ),
    Wrong(
        "float for integer", "seed = 7", "seed = 7.5", "seed:", ("got 7.5 (float)", "an integer"),
    ),
    Wrong(
        "zero iterations", "iterations = 60", "iterations = 0", "workloads[0].iterations:",
        ("got 0 (integer)", ">= 1"),
    ),
    Wrong(
        "odd blocks", "blocks = 12", "blocks = 7", "workloads[0].blocks:",
        ("got 7 (integer)", "an even number of blocks >= 4"),
    ),
    Wrong(
        "too few blocks", "blocks = 12", "blocks = 2", "workloads[0].blocks:",
        ("got 2 (integer)", "an even number of blocks >= 4"),
    ),
    Wrong(
        "no blocks", "blocks = 12\n", "", "workloads[0].blocks:", ("neither", "exactly one"),
    ),
    Wrong(
        "blocks and pilot", "blocks = 12", "blocks = 12\npilot = 8", "workloads[0].blocks:",
        ("both blocks and pilot",),
    ),
    Wrong(
        "pilot over maximum", "blocks = 12", "pilot = 8\nmax_blocks = 6",
        "workloads[0].max_blocks:", ("got 6 (integer)", "pilot's 8 blocks"),
    ),
    Wrong(
        "unknown backend", 'backend = "process"', 'backend = "proces"', "backend:",
        ('got "proces" (string)', 'did you mean "process"?'),
    ),
    Wrong(
        "unknown baseline", 'baseline = "software-tpm"', 'baseline = "software-tmp"', "baseline:",
        ("the name of an arm", 'did you mean "software-tpm"?'),
    ),
    Wrong(
        "arm of another backend", 'kind = "framework"', 'kind = "fake"', "arms[1].kind:",
        ("process backend", "deep-quote"),
    ),
    Wrong(
        "arm name twice", 'name = "framework"', 'name = "software-tpm"', "arms[1].name:",
        ('got "software-tpm" again', "arms[0]"),
    ),
    Wrong(
        "name that is no file name", 'name = "good"', 'name = "../good"', "name:",
        ('got "../good"', "a-z"),
    ),
    Wrong(
        "reserved suffix", 'name = "framework"', 'name = "framework+aa"', "arms[1].name:",
        ('"framework+aa"', "a-z"),
    ),
    Wrong("empty title", '"A good scenario"', '" "', "title:", ("not empty",)),
    Wrong(
        "no arms", GOOD[GOOD.index("[[arms]]") : GOOD.index("[[workloads]]")],
        "arms = []\n", "arms:", ("empty", "at least one"),
    ),
    Wrong(
        "array for table", "[workloads.factors]\n", "[[workloads.factors]]\n",
        "workloads[0].factors:", ("an array", "a table"),
    ),
    Wrong(
        "unknown workload kind", 'kind = "attestation"', 'kind = "atestation"',
        "workloads[0].kind:", ('did you mean "attestation"?',),
    ),
    Wrong(
        "unknown factor", "ima_entries = [500", "ima_entrys = [500",
        "workloads[0].factors.ima_entrys:", ('did you mean "ima_entries"?',),
    ),
    Wrong(
        "factor of wrong type", "[500, 2000]", '["500", "2000"]',
        "workloads[0].factors.ima_entries[0]:", ('got "500" (string)', "an integer from 1"),
    ),
    Wrong(
        "factor of mixed types", '["rsa2048", "ecc256"]', '["rsa2048", 256]',
        "workloads[0].factors.ak:", ("several types",),
    ),
    Wrong(
        "factor value unknown", '"ecc256"]', '"ecc384"]', "workloads[0].factors.ak[1]:",
        ('got "ecc384" (string)', '"ecc256"'),
    ),
    Wrong(
        "factor value twice", "[500, 2000]", "[2000, 2000]",
        "workloads[0].factors.ima_entries[1]:", ("2000 again",),
    ),
    Wrong(
        "factor without values", "[500, 2000]", "[]", "workloads[0].factors.ima_entries:",
        ("at least one value",),
    ),
    Wrong(
        "unknown arm of workload", "blocks = 12", 'blocks = 12\narms = ["frame"]',
        "workloads[0].arms[0]:", ("the name of an arm",),
    ),
    Wrong(
        "unknown option", 'kind = "framework"', 'kind = "framework"\noptions = {fast = true}',
        "arms[1].options.fast:", ("an option of this kind",),
    ),
    Wrong(
        "claim about unknown workload", 'workload = "attestation"', 'workload = "attest"',
        "claims[0].workload:", ('did you mean "attestation"?',),
    ),
    Wrong(
        "claim about unknown metric", "attestation_latency_ns", "attestation_latency_ms",
        "claims[0].metric:", ('did you mean "attestation_latency_ns"?',),
    ),
    Wrong(
        "claim about unknown part", 'part = "total"', 'part = "totals"', "claims[0].part:",
        ('did you mean "total"?',),
    ),
    Wrong(
        "claim about unknown arm", 'candidate = "framework"', 'candidate = "framewrk"',
        "claims[0].candidate:", ('did you mean "framework"?',),
    ),
    Wrong(
        "claim about baseline", 'candidate = "framework"', 'candidate = "software-tpm"',
        "claims[0].candidate:", ("other than the baseline",),
    ),
    Wrong(
        "claim about several cells", "ima_entries = 2000\n", "", "claims[0].factors.ima_entries:",
        ("missing", "500, 2000"),
    ),
    Wrong(
        "claim about no cell", "ima_entries = 2000\n", "ima_entries = 1000\n",
        "claims[0].factors.ima_entries:", ("got 1000 (integer)", "500, 2000"),
    ),
    Wrong(
        "claim with a boolean factor", "ima_entries = 2000\n", "ima_entries = true\n",
        "claims[0].factors.ima_entries:", ("got true (boolean)",),
    ),
    Wrong(
        "margin missing", "high = 0.12\n", "", "claims[0].high:", ("missing", "equivalent"),
    ),
    Wrong(
        "margin of another kind", "high = 0.12", "high = 0.12\nat_most = 0.1",
        "claims[0].at_most:", ("no such margin",),
    ),
    Wrong(
        "margins reversed", "low = 0.08", "low = 0.2", "claims[0].low:",
        ("got 0.2 (float)", "less than high = 0.12"),
    ),
    Wrong(
        "margin not finite", "low = 0.08", "low = nan", "claims[0].low:", ("nan", "finite number"),
    ),
    Wrong(
        "expectation outside margins", "high = 0.12", "high = 0.12\nexpected = 0.2",
        "claims[0].expected:", ("got 0.2 (float)", "low = 0.08"),
    ),
    Wrong(
        "too few samples for p95", "low = 0.08", 'reducer = "p95"\nlow = 0.08',
        "claims[0].reducer:", ("60 samples", "at least 130"),
    ),
    Wrong(
        "too few samples for p99", "low = 0.08", 'reducer = "p99"\nlow = 0.08',
        "claims[0].reducer:", ("at least 662",),
    ),
    Wrong(
        "claim about warm-up", "low = 0.08", 'phase = "warmup"\nlow = 0.08', "claims[0].phase:",
        ('"measured"',),
    ),
    Wrong(
        "pilot without a claim", GOOD[GOOD.index("blocks = 12") :],
        'pilot = 8\n[workloads.factors]\nak = ["rsa2048"]\n', "workloads[0].pilot:",
        ("no claim",),
    ),
    Wrong(
        "turns for a launch", GOOD[GOOD.index('kind = "attestation"') : GOOD.index("[[claims]]")],
        'kind = "vtpm_launch"\nlayout = "interleaved"\niterations = 1\nblocks = 4\n',
        "workloads[0].layout:", ('"sequential"', "only attestation can"),
    ),
    Wrong(
        "unknown layout", "warmup = 5", 'layout = "duet"', "workloads[0].layout:",
        ('got "duet"', "interleaved"),
    ),
    Wrong(
        "too many trials", "blocks = 12", "blocks = 10000", "workloads",
        ("trials in all",),
    ),
]  # fmt: skip


def test_the_good_file_is_good() -> None:
    assert parse_scenario(GOOD).name == "good"


def _text(case: Wrong) -> str:
    assert case.old in GOOD
    text = GOOD.replace(case.old, case.new, 1)
    if case.name == "too many trials":  # 4 cells would still be allowed so many blocks
        values = ", ".join(str(value) for value in range(1, 25))
        text = text.replace("[500, 2000]", f"[{values}, 2000]")
    return text


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name.replace(" ", "-"))
def test_wrong_file_gives_one_line_and_exit_2(
    case: Wrong, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(_text(case))
    assert invoke(["scenario", "check", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"attestbench: error: {path}: {case.key}")
    for words in case.says:
        assert words in output.err


WRONG_BYTES: list[tuple[str, Callable[[Path], object], str]] = [
    ("not UTF-8", lambda path: path.write_bytes(GOOD.encode() + b"# \xff\n"), "UTF-8"),
    ("empty", lambda path: path.write_bytes(b""), "name: missing"),
    ("too large", lambda path: path.write_bytes(b"#" * (MAX_FILE_BYTES + 1)), "larger than"),
    ("a folder", lambda path: path.mkdir(), "cannot read"),
    ("no file", lambda _path: None, "cannot read"),
    ("NUL bytes", lambda path: path.write_bytes(b"\0" * 20), "not valid TOML"),
    ("deep nesting", lambda path: path.write_text("a = " + "[" * 5000), "not valid TOML"),
]


@pytest.mark.parametrize(("name", "write", "words"), WRONG_BYTES, ids=lambda value: str(value)[:12])
def test_files_that_are_no_scenario_at_all(
    name: str, write: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    write(path)
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_line_breaks_in_values_do_not_break_the_line() -> None:
    with pytest.raises(InputError) as caught:
        parse_scenario(GOOD.replace('"process"', '"pro\\ncess"'))
    assert "\n" not in str(caught.value)
