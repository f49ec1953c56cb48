"""The patched kernel, booted: its lists are replayed by code written for these tests alone."""

from collections import Counter

import pytest

from .conftest import Boot
from .replay import OVERFLOW, Entry, Guest, check, parse


def _names(guest: Guest, domain: int, pcr: int = 11) -> list[str]:
    return [e.name for e in parse(guest.files["list"]) if e.domain == domain and e.pcr == pcr]


def _records(guest: Guest) -> list[str]:
    entries = parse(guest.files["list"])
    return [e.fields[2].decode() for e in entries if e.name == "ns_create"]


@pytest.fixture(scope="module", params=["tpm-tis", "tpm-crb"])
def demo(boot: Boot, request: pytest.FixtureRequest) -> Guest:
    return boot("namespaced", "demo", "ima_policy=container", tpm=request.param)


def test_pcrs_lists_and_aggregates_agree(demo: Guest) -> None:
    assert {"pcr10", "pcr11", "list.1", "list.2", "list.3"} <= set(demo.files)
    assert check(demo)["domains"] == 3


def test_each_container_has_its_own_entries(demo: Guest) -> None:
    # app1 was run by the host before; app2 after a nested unshare; app3 by setns.
    first = [f"/data/{name}" for name in ("app1", "app2", "conf", "app3", "conf")]
    assert _names(demo, 1) == first
    threads = {f"/data/thread{i}" for i in range(4)}
    assert set(_names(demo, 2)) == threads | {"/data/app1", "/data/conf"}
    assert not {"/data/app2", "/data/app3"} & set(_names(demo, 0, pcr=10))


def test_a_violation_is_recorded_on_both_sides(demo: Guest) -> None:
    broken = [e for e in parse(demo.files["list"]) if e.violation]
    assert [(e.domain, e.pcr, e.name) for e in broken] == [
        (1, 11, "/data/conf"),
        (0, 10, "/data/conf"),
    ]


def test_root_of_a_user_namespace_is_measured_and_others_are_not(demo: Guest) -> None:
    assert _names(demo, 3) == ["/data/mapped"]


def test_a_record_names_the_manager(demo: Guest) -> None:
    init = next(e for e in parse(demo.files["list"]) if e.name == "/init")
    assert all(record.endswith(f"manager=sha256:{init.digest}") for record in _records(demo))


def test_without_a_rule_for_namespaces_the_list_is_as_stock(boot: Boot) -> None:
    def entries(kernel: str) -> Counter[Entry]:
        return Counter(parse(boot(kernel, "demo", "ima_policy=tcb").files["list"]))

    assert entries("stock") == entries("namespaced")


@pytest.fixture(scope="module")
def storm(boot: Boot) -> Guest:
    arguments = "ima_policy=container storm.workers=3 storm.containers=8 storm.files=10"
    return boot("namespaced", "storm", arguments, tpm="tpm-crb", processors=2)


def test_a_storm_loses_nothing(storm: Guest) -> None:
    counts = check(storm)
    assert counts["domains"] == storm.notes["containers"]
    assert storm.notes["entered"] > 0
    assert counts["violations"] > 0
    own = [e.name for e in parse(storm.files["list"]) if e.name.startswith("/data/own/")]
    assert len(own) == len(set(own)) == storm.notes["opened"]


def test_a_container_in_a_storm_measures_each_shared_file_once(storm: Guest) -> None:
    files = Counter(
        (e.domain, e.name, e.digest)
        for e in parse(storm.files["list"])
        if e.domain and not e.violation
    )
    assert max(files.values()) == 1


def test_containers_above_the_cap_share_a_number(boot: Boot) -> None:
    arguments = "ima_ns_max=5 storm.workers=3 storm.containers=4 storm.files=4"
    guest = boot("namespaced", "storm", f"ima_policy=container {arguments}", tpm="tpm-tis")
    assert check(guest)["domains"] == 6
    entries = parse(guest.files["list"])
    names = [e.name for e in entries if e.pcr == 10]
    assert names.count("ns_overflow") == 1
    assert next(e for e in entries if e.name == "ns_overflow").violation
    overflow = next(i for i, e in enumerate(entries) if e.domain == OVERFLOW)
    assert f"id={OVERFLOW} cid=overflow" in _records(guest)[-1]
    assert [e.name for e in entries[:overflow]].count("ns_overflow") == 1
    own = [e for e in entries if e.name.startswith("/data/own/")]
    assert len(own) == guest.notes["opened"]
