"""What is damaged is an error naming file and line; what was cut off by a crash is repaired."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.model.errors import InputError
from harness.store import (
    CampaignWriter,
    check_campaign,
    compact,
    load_campaign,
    orchestration,
    read_estimates,
    read_trials,
)

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "v1-lines", tmp_path / "golden"))


def change_line(path: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = change(lines[number - 1])
    path.write_bytes(b"".join(lines))


def first_samples(campaign: Path) -> Path:
    return campaign / "samples" / f"{read_trials(campaign)[1].trial_id}.jsonl"


@pytest.mark.parametrize("tail", [b'{"trial_id":"ab', b'{"trial_id"', b"\0" * 40, b"{}"])
def test_a_torn_last_line_is_no_trial(campaign: Path, tail: bytes) -> None:
    path = campaign / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert len(read_trials(campaign)) == 10
    assert path.read_bytes() == whole + tail  # reading changes nothing
    with closing(CampaignWriter(campaign)):
        assert path.read_bytes() == whole


def test_a_last_line_without_its_newline_is_no_trial(campaign: Path) -> None:
    path = campaign / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_trials(campaign)) == 9


@pytest.mark.parametrize("number", [1, 5, 10])
@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[: len(line) // 2] + b"\n",
        lambda line: line.replace(b'"status"', b'"state"'),
        lambda line: line.replace(b'"block":', b'"block":"x'),
        lambda _line: b"\n",
        lambda line: b"\xff" + line,
    ],
    ids=["half", "key", "type", "empty", "bytes"],
)
def test_a_damaged_line_is_named(
    campaign: Path, number: int, change: Callable[[bytes], bytes]
) -> None:
    path = campaign / "trials.jsonl"
    change_line(path, number, change)
    with pytest.raises(InputError) as caught:
        load_campaign(campaign)
    assert str(caught.value).startswith(f"{path}:{number}: ")


def test_a_trial_twice_is_named_with_both_lines(campaign: Path) -> None:
    path = campaign / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[3]]))
    with pytest.raises(InputError, match=r"trials.jsonl:11: .* first at line 4"):
        load_campaign(campaign)


def test_damaged_samples_are_named(campaign: Path) -> None:
    path = first_samples(campaign)
    change_line(path, 2, lambda line: line[:20] + b"\n")
    with pytest.raises(InputError, match=f"{path.name}:2: damaged line"):
        load_campaign(campaign)


def test_lost_samples_are_named(campaign: Path) -> None:
    path = first_samples(campaign)
    change_line(path, 2, lambda _line: b"")
    with pytest.raises(InputError, match=f"{path.name}: has 1 samples, .* says 2"):
        load_campaign(campaign)
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}: missing"):
        load_campaign(campaign)


def test_samples_of_a_trial_that_was_not_committed_are_ignored(campaign: Path) -> None:
    shutil.copy(first_samples(campaign), campaign / "samples/0123456789abcdef.jsonl")
    assert len(load_campaign(campaign).samples) == 18


def test_a_newer_format_is_refused(campaign: Path) -> None:
    path = campaign / "campaign.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "format_version": 2}))
    with pytest.raises(InputError, match="got 2, expected 1 to 1; a newer attestbench"):
        load_campaign(campaign)


def test_unknown_keys_of_a_later_version_are_ignored(campaign: Path) -> None:
    for name in ("trials.jsonl", "plan.jsonl", "sessions.jsonl"):
        change_line(campaign / name, 1, lambda line: b'{"later": [1], ' + line[1:])
    assert len(load_campaign(campaign).trials) == 10


def test_missing_optional_keys_take_their_default(campaign: Path) -> None:
    path = campaign / "trials.jsonl"
    kept = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        for key in ("reason", "noise", "evidence", "interrupted_block", "notes"):
            del record[key]
        kept.append(json.dumps(record))
    path.write_text("\n".join(kept) + "\n")
    assert not load_campaign(campaign).trials["flagged"].any()


def test_compaction_keeps_every_sample_and_clears_the_lines(campaign: Path) -> None:
    before = load_campaign(campaign)
    compact(campaign, before.records)
    assert [path.name for path in (campaign / "samples").iterdir()] == ["samples.parquet"]
    assert load_campaign(campaign).samples.equals(before.samples)
    compact(campaign, before.records)
    assert load_campaign(campaign).samples.equals(before.samples)


def test_a_crash_between_compaction_and_deletion_doubles_nothing(campaign: Path) -> None:
    before = load_campaign(campaign)
    copies = shutil.copytree(campaign / "samples", campaign.parent / "kept")
    compact(campaign, before.records)
    for path in Path(copies).iterdir():
        shutil.copy(path, campaign / "samples")
    assert load_campaign(campaign).samples.equals(before.samples)
    compact(campaign, before.records)
    assert load_campaign(campaign).samples.equals(before.samples)


def test_compaction_adds_to_what_is_compacted(campaign: Path) -> None:
    whole = load_campaign(campaign)
    compact(campaign, whole.records[:6])
    assert len(list((campaign / "samples").iterdir())) == 1 + 4
    assert load_campaign(campaign).samples.equals(whole.samples)
    compact(campaign, whole.records)
    assert len(list((campaign / "samples").iterdir())) == 1
    assert load_campaign(campaign).samples.equals(whole.samples)


def test_damaged_parquet_is_named(campaign: Path) -> None:
    compact(campaign, load_campaign(campaign).records)
    path = campaign / "samples/samples.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"samples.parquet: damaged"):
        load_campaign(campaign)


@pytest.mark.parametrize("folder", ["evidence", "provenance"])
def test_verify_finds_changed_content(campaign: Path, folder: str) -> None:
    (path,) = (campaign / folder).iterdir()
    path.write_bytes(path.read_bytes() + b" ")
    (problem,) = check_campaign(campaign)[1]
    assert problem.startswith(f"{path}: content has SHA-256")


def test_verify_finds_trials_that_were_not_planned(campaign: Path) -> None:
    plan = campaign / "plan.jsonl"
    change_line(plan, 3, lambda line: line.replace(b'"block":0', b'"block":3'))
    change_line(plan, 4, lambda _line: b"")
    problems = check_campaign(campaign)[1]
    assert [problem.split(": ")[0].rpartition("/")[2] for problem in problems] == [
        "trials.jsonl:3",
        "trials.jsonl:4",
    ]


def test_a_lost_session_end_counts_to_the_last_trial(campaign: Path) -> None:
    path = campaign / "sessions.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert orchestration(campaign).wall_s == pytest.approx(2.0 * 9 + 1.5)
    path.unlink()
    assert orchestration(campaign).share == 0


def test_a_folder_without_campaign_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no campaign; `attestbench run`"):
        load_campaign(tmp_path)


def test_damaged_estimates_can_be_made_again(campaign: Path) -> None:
    (campaign / "estimates.json").write_text("{")
    with pytest.raises(InputError, match="delete it, `attestbench report` writes it again"):
        read_estimates(campaign)
