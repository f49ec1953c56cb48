"""Makes cases.json: what Keylime 7.14.3 says of IMA entries under runtime policies.

Run by hand, in an environment that has keylime and its dependencies, with evmctl and openssl:
``python tests/data/keylime/make_cases.py tests/data/keylime/cases.json``. The tests only read the
result. Each entry is given to Keylime alone, its keyrings carried on, so that every entry has a
verdict of its own: the ids of Keylime's failure events, none if it passes.
"""

import copy
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Only for policies signed with GPG, which aren't of interest here.
sys.modules.setdefault("gpg", types.ModuleType("gpg"))

from keylime.common.algorithms import Hash  # noqa: E402
from keylime.ima import file_signatures, ima  # noqa: E402

EVM_SIG = (b"", b"security.ima\0", b"\4\0\0\0", b"abcd", b"\0\0\0\0", b"\0\0\0\0", b"\xed\x81")
Json = dict[str, Any]


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def line(
    template: str, digest: str, path: str, *rest: str, data: bytes | None = None, pcr: int = 10,
    sha1: str | None = None,
) -> str:  # fmt: skip
    """A line of the text list; ``data`` is the template data where the fields don't tell."""
    if data is None:
        algorithm, _, hexed = digest.rpartition(":")
        data = sized(algorithm.encode() + b":\0" + bytes.fromhex(hexed))
        data += sized(path.encode() + b"\0") + b"".join(sized(bytes.fromhex(r)) for r in rest)
    hashed = hashlib.sha1(data).hexdigest() if sha1 is None else sha1
    return " ".join([str(pcr), hashed, template, digest, path, *rest])


def ng(path: str, content: bytes, algorithm: str = "sha256", **more: Any) -> str:
    digest = hashlib.new(algorithm, content).hexdigest()
    return line("ima-ng", f"{algorithm}:{digest}", path, **more)


def old(path: str, content: bytes) -> str:
    digest = hashlib.sha1(content)
    data = digest.digest() + path.encode().ljust(256, b"\0")
    return line("ima", digest.hexdigest(), path, data=data)


def buf(name: str, content: bytes, hashed: bytes | None = None) -> str:
    digest = sha256(content if hashed is None else hashed)
    return line("ima-buf", f"sha256:{digest}", name, content.hex())


class Signer:
    """A key with its certificate (DER) and public key (DER, base64); signs with evmctl."""

    def __init__(self, folder: Path, name: str, *make: str) -> None:
        self.folder, self.key = folder, folder / f"{name}.pem"
        self.run("openssl", "genpkey", *make, "-out", str(self.key))
        certificate = folder / f"{name}.der"
        self.run("openssl", "req", "-x509", "-new", "-key", str(self.key), "-subj", f"/CN={name}",
                 "-days", "36500", "-outform", "DER", "-out", str(certificate))  # fmt: skip
        self.certificate = certificate.read_bytes()
        public = folder / f"{name}.pub"
        self.run("openssl", "pkey", "-in", str(self.key), "-pubout", "-out", str(public))
        self.public = "".join(public.read_text().splitlines()[1:-1])

    def run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    def sign(self, content: bytes, algorithm: str = "sha256") -> str:
        (self.folder / "file").write_bytes(content)
        self.run("evmctl", "ima_sign", "--sigfile", "-a", algorithm, "--key", str(self.key), "file")
        return (self.folder / "file.sig").read_bytes().hex()

    def signed(self, path: str, content: bytes, algorithm: str = "sha256") -> str:
        digest = hashlib.new(algorithm, content).hexdigest()
        return line("ima-sig", f"{algorithm}:{digest}", path, self.sign(content, algorithm))


def policy(**parts: Any) -> Json:
    made: Json = copy.deepcopy(dict(ima.EMPTY_RUNTIME_POLICY))
    for name, part in parts.items():
        if name == "ignored_keyrings":
            made["ima"]["ignored_keyrings"] = part
        else:
            made[name.replace("_", "-")] = part
    return made


def keys(*signers: Signer) -> str:
    return json.dumps(
        {"meta": {"version": 1}, "keyids": [], "pubkeys": [s.public for s in signers]}
    )


def cases(folder: Path) -> list[tuple[str, Json, list[str]]]:
    rsa = Signer(folder, "rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    ec = Signer(folder, "ec", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    other = Signer(folder, "other", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
    weak = Signer(folder, "weak", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    edwards = Signer(folder, "edwards", "-algorithm", "ED25519")
    return [
        *digest_cases(),
        *exclude_cases(rsa),
        *signature_cases(rsa, ec, other),
        *keyring_cases(ec, other, weak, edwards),
        *other_cases(),
    ]


def digest_cases() -> list[tuple[str, Json, list[str]]]:
    a, b = b"content a", b"content b"
    digests = {
        "/bin/a": [sha256(b), sha256(a)],
        "/bin/old": [hashlib.sha1(a).hexdigest()],
        "/bin/long": [hashlib.sha512(a).hexdigest(), hashlib.sha384(b).hexdigest()],
        "boot_aggregate": [sha256(b"this boot")],
    }
    lines = [
        ng("boot_aggregate", b"this boot"), ng("boot_aggregate", b"another boot"),
        ng("/bin/a", a), ng("/bin/a", b), ng("/bin/a", b"tampered"), ng("/bin/a", a, "sha1"),
        ng("/bin/A", a), ng("/bin/a/", a), ng("bin/a", a), ng("/bin/unknown", a),
        ng("/bin/old", a, "sha1"), ng("/bin/old", b, "sha1"), old("/bin/old", a), old("/bin/old", b),
        old("/bin/new", a), ng("/bin/long", a, "sha512"), ng("/bin/long", b, "sha384"),
        ng("/bin/long", a, "sha384"), line("ima-sig", f"sha256:{sha256(a)}", "/bin/a", ""),
        line("ima-sig", f"sha256:{sha256(a)}", "/bin/none", ""),
    ]  # fmt: skip
    return [("digests", policy(digests=digests), lines), ("empty policy", policy(), lines[:3])]


def exclude_cases(rsa: Signer) -> list[tuple[str, Json, list[str]]]:
    excludes = ["/tmp/", r"/var/log/.*\.log$", "boot_aggregate", "/opt/(a|b)/[^/]+", r"/run/\d+\Z"]
    paths = [
        "/tmp/x", "/tmpfs", "/tmp", "/a/tmp/x", "/var/log/a.log", "/var/log/a.log.1", "/opt/a/x",
        "/opt/c/x", "/opt/b/", "/run/12", "/run/12a", "boot_aggregate", "xboot_aggregate",
    ]  # fmt: skip
    lines = [ng(path, b"any") for path in paths] + [
        rsa.signed("/tmp/signed", b"x"), old("/tmp/old", b"x"), buf("/tmp/buffer", b"x")
    ]  # fmt: skip
    return [
        ("excludes", policy(excludes=excludes), lines),
        ("excludes everything", policy(excludes=[".*"]), lines[:2]),
        ("excludes the empty text", policy(excludes=[""]), lines[:2]),
        ("excludes before digests", policy(excludes=["/tmp/"], digests={"/tmp/x": ["0" * 64]}),
         lines[:1]),
    ]  # fmt: skip


def signature_cases(
    rsa: Signer, ec: Signer, other: Signer
) -> list[tuple[str, Json, list[str]]]:  # fmt: skip
    a = b"signed content"
    good = bytes.fromhex(rsa.sign(a))
    digest = f"sha256:{sha256(a)}"

    def with_signature(raw: bytes, path: str = "/bin/a") -> str:
        return line("ima-sig", digest, path, raw.hex())

    lines = [
        rsa.signed("/bin/any", a), rsa.signed("/bin/any", a, "sha512"), ec.signed("/bin/any", a),
        rsa.signed("/bin/any", a, "sha1"), other.signed("/bin/any", a),
        line("ima-sig", f"sha256:{sha256(b'x')}", "/bin/a", good.hex()),
        with_signature(good[:-1] + bytes([good[-1] ^ 1])),
        with_signature(b"\x05" + good[1:]), with_signature(b"\x04" + good[1:]),
        with_signature(good[:1] + b"\1" + good[2:]), with_signature(good[:1] + b"\3" + good[2:]),
        with_signature(good[:2] + b"\5" + good[3:]), with_signature(good[:3] + bytes(4) + good[7:]),
        with_signature(good[:-1]), with_signature(good + b"\0"), with_signature(good[:5]),
        with_signature(good[:-1], "/bin/listed"), other.signed("/bin/listed", a),
        line("ima-sig", digest, "/bin/any", ""), ng("/bin/any", a),
    ]  # fmt: skip
    listed = policy(digests={"/bin/listed": [sha256(a)]}, verification_keys=keys(rsa, ec))
    without = policy(digests={"/bin/listed": [sha256(a)]})
    named = json.dumps({"keyids": [7], "pubkeys": [rsa.public]})
    renamed = line("ima-sig", digest, "/bin/a", (good[:3] + b"\0\0\0\7" + good[7:]).hex())
    return [
        ("signatures", listed, lines),
        ("signatures without keys", without, [lines[0], lines[16], lines[17]]),
        ("key ids of the policy", policy(verification_keys=named), [renamed, lines[0]]),
        ("keys encoded twice", policy(verification_keys=json.dumps(keys(rsa))), lines[:1]),
    ]


def keyring_cases(
    ec: Signer, other: Signer, weak: Signer, edwards: Signer
) -> list[tuple[str, Json, list[str]]]:
    a = b"signed content"
    named = {".ima": [sha256(ec.certificate), sha256(weak.certificate)]}
    load, signed = buf(".ima", ec.certificate), ec.signed("/bin/a", a)
    lines = [
        signed, load, signed, buf(".ima", other.certificate), other.signed("/bin/a", a),
        buf(".other", ec.certificate), buf(".ima", edwards.certificate),
        buf(".ima", weak.certificate), weak.signed("/bin/a", a),
    ]  # fmt: skip
    return [
        ("keyrings", policy(keyrings=named), lines),
        ("ignored keyring", policy(ignored_keyrings=[".ima"]), [load, signed, lines[5]]),
        ("all keyrings ignored", policy(ignored_keyrings=["*"]), [load, signed, lines[5]]),
        ("ignored although named", policy(keyrings=named, ignored_keyrings=[".ima"]),
         [load, signed]),
        ("excluded keyring", policy(excludes=[r"\.ima"]), [load, signed]),
        ("public key", policy(keyrings={".ima": [sha256(public_der(ec))]}),
         [buf(".ima", public_der(ec)), signed]),
    ]  # fmt: skip


def public_der(signer: Signer) -> bytes:
    import base64

    return base64.b64decode(signer.public)


def other_cases() -> list[tuple[str, Json, list[str]]]:
    a = b"content a"
    digest = f"sha256:{sha256(a)}"
    file = sized(b"sha256:\0" + hashlib.sha256(a).digest()) + sized(b"/bin/a\0")
    typed = sized(b"ima:sha256:\0" + hashlib.sha256(a).digest()) + sized(b"/bin/a\0")
    tree = sized(b"verity:sha256:\0" + hashlib.sha256(a).digest()) + sized(b"/bin/a\0")
    allowed = policy(
        digests={"/bin/a": [sha256(a)]},
        **{"ima-buf": {"kexec-cmdline": [sha256(b"quiet")], "/bin/a": [sha256(b"x")]}},
    )
    evm = ["", "security.ima", "04000000", "61626364", "0", "0", "33261"]
    lines = [
        buf("kexec-cmdline", b"quiet"), buf("kexec-cmdline", b"init=/x"), buf("dm_table", b"quiet"),
        buf("kexec-cmdline", b"other", hashed=b"quiet"), buf("/bin/a", a),
        ng("/bin/a", a, sha1="0" * 40), ng("/bin/a", a, pcr=11), ng("/bin/a", a, sha1="1" * 40),
        line("ima-ngv2", f"ima:{digest}", "/bin/a", data=typed),
        line("ima-ngv2", f"verity:{digest}", "/bin/a", data=tree),
        line("ima-sigv2", f"ima:{digest}", "/bin/a", "", data=typed + sized(b"")),
        line("ima-modsig", digest, "/bin/a", "", "", "", data=file + 3 * sized(b"")),
        line("evm-sig", digest, "/bin/a", *evm, data=file + b"".join(map(sized, EVM_SIG))),
    ]  # fmt: skip
    return [("other entries", allowed, lines)]


def forms() -> list[tuple[str, str]]:
    """Policies, to be taken or refused as a whole."""

    def changed(change: Callable[[Json], object]) -> str:
        made = policy(digests={"/a": ["0" * 64]})
        change(made)
        return json.dumps(made)

    def without(name: str) -> str:
        return changed(lambda made: made.pop(name))

    def put(path: str, value: Any) -> str:
        *groups, last = path.split("/")

        def change(made: Json) -> None:
            for group in groups:
                made = made[group]
            made[last] = value

        return changed(change)

    return [
        ("as it is", changed(lambda _: None)),
        *(("without " + name, without(name)) for name in policy()),
        ("upper case", put("digests", {"/a": ["A" * 64]})),
        ("prefix", put("digests", {"/a": ["sha256:" + "0" * 64]})),
        ("too short", put("digests", {"/a": ["0" * 38]})),
        ("odd length", put("digests", {"/a": ["0" * 41]})),
        ("too long", put("digests", {"/a": ["0" * 130]})),
        ("newline", put("digests", {"/a": ["0" * 40 + "\n"]})),
        ("no digest", put("digests", {"/a": []})),
        ("digest that is no text", put("digests", {"/a": [1]})),
        ("timestamp", put("meta/timestamp", "2026-01-01")),
        ("note in meta", put("meta/note", "x")),
        ("version 0", put("meta/version", 0)),
        ("version 2", put("meta/version", 2)),
        ("generator 9", put("meta/generator", 9)),
        ("release -1", put("release", -1)),
        ("dm_policy", put("ima/dm_policy", {"version": 1})),
        ("log hash", put("ima/log_hash_alg", "sha256")),
        ("other log hash", put("ima/log_hash_alg", "md5")),
        ("unknown section", put("symlinks", {})),
        ("keys that are no JSON", put("verification-keys", "key")),
        ("keys without ids", put("verification-keys", '{"pubkeys": []}')),
        ("no keys", put("verification-keys", '{"pubkeys": [], "keyids": []}')),
        ("key that is none", put("verification-keys", '{"pubkeys": ["AA=="], "keyids": []}')),
        ("exclusion that is none", put("excludes", ["("])),
        ("exclusion with look-ahead", put("excludes", ["/a(?=b)"])),
        ("list", "[]"),
        ("no JSON", "{"),
    ]


def judged(rules: Json, lines: list[str]) -> list[list[str]]:
    keyrings = file_signatures.ImaKeyrings()
    keyrings.set_tenant_keyring(file_signatures.ImaKeyring.from_string(rules["verification-keys"]))
    verdicts = []
    for text in lines:
        _, failure = ima.process_measurement_list(
            None, [text], copy.deepcopy(rules), ima_keyrings=keyrings, hash_alg=Hash.SHA256
        )
        verdicts.append(sorted({event.event_id for event in failure.events}))
    return verdicts


def is_taken(text: str) -> bool:
    try:
        ima.validate_runtime_policy(json.loads(text))
    except Exception:
        return False
    return True


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = [
            {"name": name, "policy": rules, "lines": lines, "verdicts": judged(rules, lines)}
            for name, rules, lines in cases(Path(folder))
        ]
    policies = [{"name": name, "text": text, "taken": is_taken(text)} for name, text in forms()]
    document = {"keylime": "7.14.3", "cases": made, "policies": policies}
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
