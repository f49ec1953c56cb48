"""vTPM state at rest: encrypted and bound to its instance (AES-256-GCM, NIST SP 800-38D)."""

import os
import secrets
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harness.framework.errors import FrameworkError

_NONCE_BYTES = 12
_MAGIC = b"attestbench vtpm state v1\0"


class EncryptedState(MutableMapping[str, bytes]):
    """libtpms' state files in ``directory``; the key never reaches the disk.

    Replacing a file by another instance's, or by another kind of state, is detected, and so is an
    older state of the instance itself: this process remembers what it wrote last, and a service
    that starts anew gets a new key (docs/adr/0003).
    """

    def __init__(self, directory: Path, instance: str, key: bytes) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._instance = instance
        self._cipher = AESGCM(key)
        self._written: dict[str, bytes] = {}

    def _path(self, name: str) -> Path:
        if not name.isalnum():
            raise FrameworkError(f"state name {name!r}: expected letters and digits")
        return self._directory / f"{name}.enc"

    def _label(self, name: str) -> bytes:
        return _MAGIC + self._instance.encode() + b"\0" + name.encode()

    def __getitem__(self, name: str) -> bytes:
        try:
            sealed = self._path(name).read_bytes()
        except FileNotFoundError:
            sealed = b""
        # The nonce is new with every write, and the tag covers it.
        if self._written.get(name, sealed[:_NONCE_BYTES]) != sealed[:_NONCE_BYTES]:
            raise FrameworkError(f"{name} of instance {self._instance}: the host set it back")
        if not sealed:
            raise KeyError(name)
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._label(name)
            )
        except InvalidTag:
            raise FrameworkError(
                f"{self._path(name).name} of instance {self._instance}: state was changed,"
                " belongs to another instance, or the key is another one"
            ) from None

    def __setitem__(self, name: str, value: bytes) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        path = self._path(name)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(nonce + self._cipher.encrypt(nonce, value, self._label(name)))
        temporary.replace(path)
        self._written[name] = nonce

    def __delitem__(self, name: str) -> None:
        self._written.pop(name, None)
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self._directory.glob("*.enc"))

    def __len__(self) -> int:
        return sum(1 for _ in self)
