"""Policy: whom to trust and which values to accept. Written as JSON, checked when loaded."""

import hashlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from harness.framework import tee
from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import ccel, ima_signature, json_text
from harness.framework.evidence.ima_signature import NamedKey
from harness.framework.evidence.ima_walk import AllowedFiles
from harness.framework.verify import keylime_policy
from harness.framework.verify.boot_rules import BootRules
from harness.framework.verify.file_rules import FileRules
from harness.framework.verify.keylime_policy import KeylimePolicy

MAX_POLICY_SIZE = 256 * 1024 * 1024
_Pcr = Annotated[int, msgspec.Meta(ge=0, le=23)]
_Sha256 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
# An algorithm id and a digest of SHA-256 to SHA-512.
_TpmName = Annotated[bytes, msgspec.Meta(min_length=34, max_length=66)]
_Measurement = Annotated[bytes, msgspec.Meta(min_length=32, max_length=64)]


class TeeRoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A processor vendor's root, in the vendor's format (csv: 832-byte HRK; others: DER).

    Without ``root`` it is the one of that ``name`` which comes with the package; a ``real`` one is
    always one of these.
    """

    name: str
    tee: str
    kind: Literal["real", "emulated"]
    root: bytes = b""


# What a policy may ask for that only schemes with TEE reports and certificates look at.
_OF_REPORTS = (
    "service_boot_rules",
    "pod_boot_rules",
    "require_fresh_report",
    "require_deep_quote",
)

Files = Mapping[str, tuple[bytes, ...]]


class ContainerRules(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Which containers may run. Digests are SHA-256, by path.

    ``managers`` are the programs that may make containers (and run on the host). A container whose
    name (last part of its cgroup's path) is in ``per_container`` may use those files, any other one
    ``files``, and with None no other may run. ``max_unsealed`` entries may follow the last record
    of the aggregates: each was replayed, but the container's tenant can't tell that they are all.
    """

    managers: dict[str, tuple[bytes, ...]]
    files: dict[str, tuple[bytes, ...]] | None = None
    per_container: dict[str, dict[str, tuple[bytes, ...]]] = {}
    max_unsealed: Annotated[int, msgspec.Meta(ge=0)] = 0
    pcr: Annotated[int, msgspec.Meta(ge=8, le=15)] = 11

    def files_of(self, name: str) -> Files | None:
        """What a container of this name may use; None: it may not run."""
        return self.per_container.get(name, self.files)

    def table_of(self, name: str) -> AllowedFiles | None:
        """:meth:`files_of` in the form that replays fast, made when it is first asked for."""
        files = self.files_of(name)
        if files is None:
            return None
        key = name if name in self.per_container else None
        if key not in self._tables:
            self._tables[key] = AllowedFiles(files)
        return self._tables[key]

    @cached_property
    def _tables(self) -> dict[str | None, AllowedFiles]:
        return {}


class Policy(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """What a verifier accepts; every default is the strict one.

    ``scheme``: ``chain`` wants certificates and TEE reports, ``allow-list`` only a key whose TPM
    Name is in ``accepted_ak_names`` (the plain software TPM), ``paravisor`` a TEE report that names
    the vTPM's key itself, without an authority. ``authority_roots`` and ``crls`` are DER; with
    ``require_crl`` the list of each root must be there. A list counts until ``crl_grace_s`` seconds
    past its next update. ``accept_reset``: a TPM may be reset between attestations, as a rebooted
    guest's is; a pod's vTPM lives once (ADR 3).
    ``accepted_measurements`` are those of vTPM services, ``pod_measurements`` those of guests,
    which a fresh report must have. ``tee_rules`` are the guest policies by kind of TEE (csv:
    ``CsvRules``). A service of ``relayed_measurements`` serves guests through a
    device on their host, so that without a fresh report nothing is known of them. ``boot`` are the
    allowed SHA-256 event digests by PCR, ``boot_rules`` say what each event may be (None: replay
    only; with both, both must hold). ``service_boot_rules`` and ``pod_boot_rules`` say the same of
    the CC event logs of launch and fresh reports (which the latter make required) of TEEs that have
    such registers; with None, a report may come without such a log,
    and one that is there must still lead to the report's registers. ``ima`` are the allowed digests
    by path, of files, and ``ima_keys`` (certificates or public keys) those whose signatures of
    files count instead. ``ima_keyrings`` are the digests of keys that may be loaded, by keyring,
    and then count too; ``ima_buffers`` those of other buffers, by name. ``keylime`` replaces all of
    these by a runtime policy of Keylime's. With ``sha1_boot_aggregate`` that of the boot log's
    SHA-1 digests, which nothing vouches for, is acceptable as well.
    ``require_confirmation_key``: evidence must name a key of the attester's own, without which a
    result says nothing of who presents it.
    ``platforms``: the chips of each host; without any, a host may have whichever chip.
    ``containers``: None where no container may measure anything into a PCR of its own.
    An emulated TEE root counts only if it is named in ``tee_roots`` and ``accept_emulated`` is set.
    """

    scheme: Literal["chain", "allow-list", "paravisor"]
    accepted_ak_names: tuple[_TpmName, ...] = ()
    authority_roots: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    require_crl: bool = True
    crl_grace_s: Annotated[int, msgspec.Meta(ge=0, le=10 * 365 * 86400)] = 0
    tee_roots: tuple[TeeRoot, ...] = ()
    accept_emulated: bool = False
    accepted_measurements: tuple[_Measurement, ...] = ()
    relayed_measurements: tuple[_Measurement, ...] = ()
    pod_measurements: tuple[_Measurement, ...] = ()
    platforms: dict[str, tuple[str, ...]] = {}
    tee_rules: dict[str, Any] = {}
    pcrs: tuple[_Pcr, ...] = tuple(range(11))
    nonzero_pcrs: tuple[_Pcr, ...] = (0, 10)
    boot: dict[_Pcr, tuple[_Sha256, ...]] | None = None
    boot_rules: BootRules | None = None
    service_boot_rules: BootRules | None = None
    pod_boot_rules: BootRules | None = None
    ima: dict[str, tuple[bytes, ...]] = {}
    ima_templates: tuple[str, ...] = ("ima-ng", "ima-sig")
    ima_keys: tuple[bytes, ...] = ()
    ima_keyrings: dict[str, tuple[bytes, ...]] = {}
    ima_buffers: dict[str, tuple[bytes, ...]] = {}
    keylime: KeylimePolicy | None = None
    sha1_boot_aggregate: bool = False
    containers: ContainerRules | None = None
    require_fresh_report: bool = False
    require_deep_quote: bool = False
    require_confirmation_key: bool = False
    accept_reset: bool = False

    @cached_property
    def required_pcrs(self) -> frozenset[int]:
        """``pcrs`` as a set."""
        return frozenset(self.pcrs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the policy's JSON: names the policy in results, and its share of a cache."""
        return hashlib.sha256(encode_policy(self)).hexdigest()

    @cached_property
    def rules_by_tee(self) -> Mapping[str, msgspec.Struct]:
        """``tee_rules`` in the form of each kind of TEE that is known, defaults included.

        Raises:
            PolicyError: of an unknown kind, or not of that kind's form.
        """
        unknown = sorted(set(self.tee_rules) - set(tee.verifiers()))
        if unknown:
            known = ", ".join(tee.verifiers())
            raise PolicyError(f"policy: tee_rules.{unknown[0]}: no such TEE; known are {known}")
        return {
            kind: _rules(kind, self.tee_rules.get(kind, {}), verifier.rules_type)
            for kind, verifier in tee.verifiers().items()
        }

    @cached_property
    def root_bytes(self) -> Mapping[TeeRoot, bytes]:
        """Each of ``tee_roots`` with its bytes.

        Raises:
            PolicyError: a root without bytes whose name isn't that of a pinned real one.
        """
        return {root: _root_bytes(root) for root in self.tee_roots}

    @cached_property
    def plain_files(self) -> AllowedFiles:
        """``ima`` without the container managers, whose entries are needed for more."""
        managers = self.containers.managers if self.containers else {}
        files = {
            path: digests for path, digests in self.file_rules.files.items() if path not in managers
        }
        return AllowedFiles(files, self.templates)

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates of which an entry of the host may be."""
        return self.ima_templates if self.keylime is None else keylime_policy.TEMPLATES

    @cached_property
    def file_rules(self) -> FileRules:
        """What the host may measure.

        Raises:
            PolicyError: rules for files beside ``keylime``, an unusable key or exclusion.
        """
        if self.keylime is None:
            keys = tuple(_ima_key(number, key) for number, key in enumerate(self.ima_keys))
            return FileRules(self.ima, keys, self.ima_keyrings, buffers=self.ima_buffers)
        if self.ima or self.ima_keys or self.ima_keyrings or self.ima_buffers:
            raise PolicyError("policy: keylime: not together with ima, ima_keys and the like")
        return self.keylime.rules


def _rules(kind: str, given: Any, rules_type: type[msgspec.Struct]) -> msgspec.Struct:
    if isinstance(given, rules_type):
        return given
    try:
        return msgspec.convert(given, rules_type)
    except msgspec.ValidationError as error:
        raise PolicyError(f"policy: tee_rules.{kind}: {error}") from None


def _ima_key(number: int, data: bytes) -> NamedKey:
    try:
        key = ima_signature.load_key(data)
    except ParseError as error:
        raise PolicyError(f"policy: ima_keys: key {number}: {error}") from None
    if key is None:
        raise PolicyError(f"policy: ima_keys: key {number} is no certificate or public key")
    return key


def _root_bytes(root: TeeRoot) -> bytes:
    verifier = tee.verifier(root.tee)
    pinned = verifier.roots if verifier else {}
    if root.root and root.kind == "real" and root.root not in pinned.values():
        raise PolicyError(
            f"policy: tee_roots: {root.name!r} is none of the pinned roots of {root.tee!r} and so "
            'must be of kind "emulated", which counts with accept_emulated'
        )
    if root.root:
        return root.root
    if root.name not in pinned or root.kind != "real":
        raise PolicyError(
            f"policy: tee_roots: {root.name!r} ({root.kind}) has no bytes; pinned real roots of "
            f"{root.tee!r} are {', '.join(pinned) or 'none'}"
        )
    return pinned[root.name]


def load_policy(text: bytes) -> Policy:
    """Read a policy from JSON; bytes are base64, PCRs as keys decimal.

    Raises:
        PolicyError: names the field, what was found and what was expected.
    """
    if len(text) > MAX_POLICY_SIZE:
        raise PolicyError(f"policy of {len(text)} bytes, at most {MAX_POLICY_SIZE}")
    try:
        policy = json_text.decode(text, Policy, "policy")
    except ParseError as error:
        raise PolicyError(f"{error}{_meant(str(error))}") from None
    # All are checked when they are made.
    _ = policy.rules_by_tee, policy.root_bytes, policy.file_rules
    _check_combination(policy)
    return policy


def _meant(problem: str) -> str:
    """The field that a misspelt one of the policy's own was meant to be."""
    misspelt = re.search(r"unknown field `(\w+)`$", problem)
    near = get_close_matches(misspelt[1], Policy.__struct_fields__, 1) if misspelt else []
    return f"; did you mean {near[0]}?" if near else ""


def _check_combination(policy: Policy) -> None:
    """Refuse what would silently not be looked at."""
    asked = [name for name in _OF_REPORTS if getattr(policy, name)]
    if policy.scheme == "allow-list" and asked:
        raise PolicyError(f"policy: {asked[0]}: the scheme allow-list judges no reports or hosts")
    for name in ("service_boot_rules", "pod_boot_rules"):
        rules: BootRules | None = getattr(policy, name)
        used = [rule.pcr for rule in rules.events] + [*(rules.separators or ())] if rules else []
        if not all(1 <= register <= ccel.RTMRS for register in used):
            raise PolicyError(f"policy: {name}: registers are 1 (RTMR 0) to {ccel.RTMRS}")


def encode_policy(policy: Policy) -> bytes:
    """The policy as JSON with sorted keys, the same for the same policy."""
    return msgspec.json.encode(msgspec.to_builtins(policy, str_keys=True), order="sorted")
