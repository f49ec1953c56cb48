"""The attestation workload against a real swtpm and a real verifier process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.framework.tpm import keys
from harness.framework.verify import Policy
from harness.model.record import TrialRequest
from harness.model.scenario import Arm, Cell, Workload
from harness.workloads import attestation
from harness.workloads.logs import boot_event_log, ima_log, pcrs_after
from harness.workloads.software_tpm import SoftwareTpmPod
from harness.workloads.verifier_process import Verifier, VerifierClient

SEED = 11


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpmPod]:
    pod = SoftwareTpmPod(tmp_path_factory.mktemp("tpm"), "ecc256")
    attestation.extend_logs(pod.tcti, boot_event_log(SEED), ima_log(20, SEED))
    yield pod
    pod.close()


@pytest.fixture
def policy(pod: SoftwareTpmPod) -> Policy:
    measured = attestation.reference_values(boot_event_log(SEED), ima_log(20, SEED))
    return Policy(
        scheme="allow-list",
        accepted_ak_names=(pod.ak.name,),
        boot=measured.boot,
        ima=measured.ima,
    )


def evidence(pod: SoftwareTpmPod, nonce: bytes) -> bytes:
    return pod.attest(nonce, boot_event_log(SEED).log, ima_log(20, SEED).binary)


def test_extending_directly_gives_the_pcrs_of_the_logs(pod: SoftwareTpmPod) -> None:
    ima = ((10, digest) for digest in ima_log(20, SEED).template_hashes_sha256)
    expected = pcrs_after((*boot_event_log(SEED).extends, *ima))
    pcrs = tuple(range(11))
    assert keys.read_pcrs(pod.ectx, pcrs) == {pcr: expected[pcr] for pcr in pcrs}


def test_a_nonce_is_good_for_one_answer(pod: SoftwareTpmPod, policy: Policy) -> None:
    with VerifierClient(policy) as verifier:
        first = evidence(pod, verifier.challenge())
        assert verifier.judge(first).accepted
        assert verifier.judge(first).failures == ("freshness.nonce",)
        verifier.challenge()
        assert "freshness.nonce" in verifier.judge(first).failures


def test_a_challenge_expires(
    pod: SoftwareTpmPod, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.workloads.verifier_process.CHALLENGE_LIFETIME_S", -1.0)
    verifier = Verifier(policy)
    verdict = verifier.judge(evidence(pod, verifier.challenge()))
    assert verdict.failures == ("freshness.expired",)


def request(workdir: Path, iterations: int = 3) -> TrialRequest:
    workload = Workload("attestation", "attestation", iterations=iterations, warmup=2)
    cell = Cell("c", "attestation", {"ak": "rsa2048", "ima_entries": 30})
    return TrialRequest(
        "t", cell, workload, Arm("software-tpm", "software-tpm"), SEED, str(workdir)
    )


def test_phases_add_up_to_the_total(tmp_path: Path) -> None:
    outcome = attestation.run(request(tmp_path), None)
    assert outcome.status == "ok"
    times = [one for one in outcome.samples if one.metric == attestation.METRIC]
    phases = [one.phase for one in times if one.part == "total"]
    assert phases == ["first", "warmup", "warmup", "measured", "measured", "measured"]
    covered = []
    for index in range(len(phases)):
        parts = {one.part: one.value for one in times if one.iteration == index}
        total = parts.pop("total")
        assert 0 < sum(parts.values()) <= total
        assert min(parts["quote"], parts["challenge"], parts["transport"]) > 0
        covered.append(sum(parts.values()) / total)
    # One attestation may be interrupted between two phases, but not every one.
    assert max(covered) > 0.9
    assert [one.value for one in outcome.samples if one.unit == "B"] == [len(outcome.evidence[0])]


def test_one_bad_evidence_rejects_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = attestation.extend_logs
    monkeypatch.setattr(
        attestation,
        "extend_logs",
        lambda tcti, boot, ima: skipped(tcti, boot._replace(extends=boot.extends[:-1]), ima),
    )
    outcome = attestation.run(request(tmp_path), None)
    assert outcome.status == "rejected"
    assert "boot.replay.mismatch" in outcome.reason.split(",")
    assert outcome.samples == ()
