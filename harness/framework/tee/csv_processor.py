"""A software stand-in for Hygon's secure processor: real layouts and signatures, an emulated root.

What it certifies is as good as the directory that holds its key: a policy must name its root as
``emulated`` and accept that explicitly.
"""

import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from harness.framework.errors import TeeError
from harness.framework.tee import csv_format, sm2, sm2_curve
from harness.framework.tee.csv_format import encode_number, unmask
from harness.framework.tee.sm2 import PrivateKey

POLICY_CSV2 = 0x5  # NODBG and ES
_PUBLIC_FILES = ("hrk.cert", "hsk_cek.cert", "pek.cert", "serial")
_KEY_FILE = "pek.key"
_READ_SIZE = 1 << 20


class SoftwareVendor:
    """The vendor: an HRK, and an HSK under it. Its keys exist in memory only.

    ``hrk`` and ``hsk`` are 832-byte certificates.
    """

    def __init__(self) -> None:
        self._hrk_key, self._hsk_key = sm2.generate(), sm2.generate()
        self._hrk_id, self._hsk_id = secrets.token_bytes(16), secrets.token_bytes(16)
        self.hrk = self._ca_certificate(self._hrk_id, csv_format.USAGE_HRK, self._hrk_key)
        self.hsk = self._ca_certificate(self._hsk_id, csv_format.USAGE_HSK, self._hsk_key)

    def provision(self, directory: Path) -> "SoftwareProcessor":
        """Make a processor with its own serial, CEK and PEK, and keep it in ``directory``.

        Only the PEK's key is kept (mode 0600): nobody can issue a second PEK under this chip.

        Raises:
            TeeError: the directory already holds a processor or cannot be written.
        """
        cek_key, oca_key, pek_key = sm2.generate(), sm2.generate(), sm2.generate()
        cek_body = _body(csv_format.USAGE_CEK, cek_key, b"HYGON-SSD-CEK", self._hsk_id)
        cek_slot = _slot(csv_format.USAGE_HSK, self._hsk_key, b"HYGON-SSD-HSK", cek_body)
        pek_body = _body(csv_format.USAGE_PEK, pek_key, b"HYGON-SSD-PEK", bytes(16))
        pek_slots = _slot(csv_format.USAGE_CEK, cek_key, b"HYGON-SSD-CEK", pek_body)
        pek_slots += _slot(csv_format.USAGE_OCA, oca_key, b"HYGON-SSD-OCA", pek_body)
        serial = f"SOFT{secrets.token_hex(5).upper()}"
        contents = {
            "hrk.cert": self.hrk,
            "hsk_cek.cert": self.hsk + cek_body + cek_slot + _empty_slot(),
            "pek.cert": pek_body + pek_slots,
            "serial": serial.encode(),
            # Last: a directory that holds it is complete.
            _KEY_FILE: pek_key.secret.to_bytes(32) + pek_key.public,
        }
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, content in contents.items():
                mode = 0o600 if name == _KEY_FILE else 0o644
                _write_new(directory / name, content, mode)
        except OSError as error:
            raise TeeError(f"{directory}: cannot keep the software processor: {error}") from error
        return SoftwareProcessor(directory)

    def _ca_certificate(self, key_id: bytes, usage: int, key: PrivateKey) -> bytes:
        user_id = b"HYGON-SSD-HRK" if usage == csv_format.USAGE_HRK else b"HYGON-SSD-HSK"
        head = struct.pack("<I16s16sI24x", 1, key_id, self._hrk_id, usage)
        signed = (head + _public_key(key) + _user_id(user_id)).ljust(csv_format.CA_SIGNED, b"\0")
        signature = _sign(self._hrk_key, b"HYGON-SSD-HRK", signed)
        return (signed + signature).ljust(csv_format.CA_SIZE, b"\0")


class SoftwareProcessor:
    """One platform's processor, loaded from the directory it was provisioned in.

    ``hrk`` is the root to pin, ``hsk_cek`` the certificates for TeeEvidence, ``serial`` the chip.
    """

    def __init__(self, directory: Path) -> None:
        """Load a processor. Raises TeeError when ``directory`` holds none."""
        try:
            files = [(directory / name).read_bytes() for name in _PUBLIC_FILES]
            key = (directory / _KEY_FILE).read_bytes()
        except OSError as error:
            raise TeeError(f"{directory}: holds no software processor: {error}") from error
        self.hrk, self.hsk_cek, self._pek, serial = files
        self.serial = serial.decode("ascii", "backslashreplace")
        self._key = PrivateKey(int.from_bytes(key[:32]), key[32:])
        if sm2_curve.decode(self._key.public) is None:
            raise TeeError(f"{directory / _KEY_FILE}: is damaged; provision the processor again")

    def launch(
        self, measured: Mapping[str, bytes | Path], policy: int = POLICY_CSV2
    ) -> "SoftwareGuest":
        """Start a guest whose launch digest covers every component (content or file) by name."""
        return self.guest(launch_digest(measured), policy)

    def guest(self, measurement: bytes, policy: int = POLICY_CSV2) -> "SoftwareGuest":
        """Start a guest with this launch digest, as the real processor would have computed it."""
        return SoftwareGuest(self, measurement, policy)

    def _report(self, guest: "SoftwareGuest", report_data: bytes, mnonce: bytes) -> bytes:
        """A V1 page: masked with a random word, and signed as masked."""
        mask = secrets.token_bytes(4)
        body = _report_body(guest, report_data, mnonce)
        masked = unmask(body, mask)
        signature = _sign(self._key, b"HYGON-SSD-PEK", masked[: csv_format.REPORT_SIGNED[1]])
        signer = self._signer(mask, mnonce)
        return (masked + mask + signature + signer).ljust(csv_format.PAGE_SIZE, b"\0")

    def _extended_report(self, guest: "SoftwareGuest", report_data: bytes, mnonce: bytes) -> bytes:
        """A V2 page: not masked; register 0 repeats the launch digest."""
        body = _report_body(guest, report_data, mnonce)
        registers = guest.measurement + bytes(4 * 32)
        extension = struct.pack("<IH14x160s656x", _FIRMWARE_BUILD, 1, registers)
        signature = _sign(self._key, b"HYGON-SSD-PEK", body + extension)
        signer = self._signer(bytes(4), mnonce)
        return (body + extension + signature + signer).ljust(csv_format.PAGE_SIZE, b"\0")

    def _signer(self, mask: bytes, mnonce: bytes) -> bytes:
        """PEK, serial, 32 spare bytes and their MAC."""
        identity = unmask(self._pek + self.serial.encode().ljust(64, b"\0"), mask)
        covered = identity + secrets.token_bytes(32)
        return covered + sm2.hmac_sm3(mnonce, covered)


class SoftwareGuest:
    """A launched guest: all it can get are reports of its own measurement."""

    def __init__(self, processor: SoftwareProcessor, measurement: bytes, policy: int) -> None:
        self._processor = processor
        self.measurement = measurement
        self.policy = policy

    def report(self, report_data: bytes, mnonce: bytes, *, extended: bool = False) -> bytes:
        """A report page (4,096 bytes): V1, or V2 where ``extended``.

        Raises:
            TeeError: ``report_data`` isn't 64 or ``mnonce`` not 16 bytes.
        """
        if len(report_data) != 64 or len(mnonce) != 16:
            raise TeeError(
                f"report data of {len(report_data)} and mnonce of {len(mnonce)} bytes, "
                "expected 64 and 16"
            )
        if extended:
            return self._processor._extended_report(self, report_data, mnonce)
        return self._processor._report(self, report_data, mnonce)


def open_processor(directory: Path) -> SoftwareProcessor:
    """The processor kept in ``directory``, provisioned under a new vendor if there is none."""
    if (directory / _KEY_FILE).exists():
        return SoftwareProcessor(directory)
    return SoftwareVendor().provision(directory)


def launch_digest(measured: Mapping[str, bytes | Path]) -> bytes:
    """SM3 over the components in the order of their names, each as SM3(name) || SM3(content).

    Raises:
        TeeError: a component's file cannot be read.
    """
    digests = [
        sm2.sm3(name.encode()) + _component_digest(name, measured[name])
        for name in sorted(measured)
    ]
    return sm2.sm3(b"".join(digests))


def _component_digest(name: str, content: bytes | Path) -> bytes:
    if isinstance(content, bytes):
        return sm2.sm3(content)
    context = hashes.Hash(hashes.SM3())
    try:
        with content.open("rb") as file:
            while block := file.read(_READ_SIZE):
                context.update(block)
    except OSError as error:
        raise TeeError(f"component {name} cannot be measured: {error}") from error
    return context.finalize()


# The first firmware build that makes extended reports.
_FIRMWARE_BUILD = 2337


def _report_body(guest: SoftwareGuest, report_data: bytes, mnonce: bytes) -> bytes:
    """The first 188 bytes of both versions; owner's key digest, VM id and version stay zero."""
    identity = bytes(64)
    return struct.pack(
        "<64s64s16s32sIII",
        identity,
        report_data,
        mnonce,
        guest.measurement,
        guest.policy,
        csv_format.USAGE_PEK,
        csv_format.ALGORITHM_SM2_SA,
    )


def _public_key(key: PrivateKey) -> bytes:
    x, y = (int.from_bytes(half) for half in (key.public[:32], key.public[32:]))
    return struct.pack("<I", csv_format.SM2_CURVE) + encode_number(x) + encode_number(y)


def _user_id(user_id: bytes) -> bytes:
    return struct.pack("<H254s", len(user_id), user_id)


def _sign(key: PrivateKey, user_id: bytes, message: bytes) -> bytes:
    signature = sm2.sign(key, user_id, message)
    return encode_number(signature.r) + encode_number(signature.s)


def _body(usage: int, key: PrivateKey, user_id: bytes, issuer_key_id: bytes) -> bytes:
    """The 1,044 signed bytes of a CEK or PEK certificate; versions as real chips have them."""
    version, firmware_minor = (2, 1) if usage == csv_format.USAGE_CEK else (1, 3)
    head = struct.pack("<IBBHII", version, 1, firmware_minor, 0, usage, csv_format.ALGORITHM_SM2_SA)
    body = head + _public_key(key) + _user_id(user_id) + issuer_key_id
    return body.ljust(csv_format.CERTIFICATE_SIGNED, b"\0")


def _slot(usage: int, key: PrivateKey, user_id: bytes, body: bytes) -> bytes:
    head = struct.pack("<II", usage, csv_format.ALGORITHM_SM2_SA)
    return (head + _sign(key, user_id, body)).ljust(csv_format.SLOT_SIZE, b"\0")


def _empty_slot() -> bytes:
    return struct.pack("<I", csv_format.USAGE_NONE).ljust(csv_format.SLOT_SIZE, b"\0")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
