"""A TPM 2.0 inside this process: libtpms, the library that swtpm is built on.

The vTPM instance ends the attested channel and runs the TPM in one process, because a hop
between processes costs more than the cipher. libtpms keeps global state, so a process
runs one TPM.
"""

import ctypes
from collections.abc import MutableMapping

from harness.framework.errors import FrameworkError

_TPM_RETRY = 0x800
_TPM_FAIL = 0x9
_VERSION_2 = 1
MAX_COMMAND_BYTES = 4096

_Byte = ctypes.c_ubyte
_Bytes = ctypes.POINTER(_Byte)
_U32 = ctypes.c_uint32
_NvInit = ctypes.CFUNCTYPE(_U32)
_NvLoad = ctypes.CFUNCTYPE(
    _U32, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_U32), _U32, ctypes.c_char_p
)
_NvStore = ctypes.CFUNCTYPE(_U32, ctypes.c_void_p, _U32, _U32, ctypes.c_char_p)
_NvDelete = ctypes.CFUNCTYPE(_U32, _U32, ctypes.c_char_p, _Byte)


class _Callbacks(ctypes.Structure):
    """``struct libtpms_callbacks`` (libtpms/tpm_library.h); absent I/O callbacks stay NULL."""

    _fields_ = (
        ("size", ctypes.c_int),
        ("nvram_init", _NvInit),
        ("nvram_load", _NvLoad),
        ("nvram_store", _NvStore),
        ("nvram_delete", _NvDelete),
        ("io_init", ctypes.c_void_p),
        ("io_get_locality", ctypes.c_void_p),
        ("io_get_physical_presence", ctypes.c_void_p),
    )


class LibTpms:
    """The one TPM of this process, with its non-volatile state in ``state`` (name to bytes).

    Raises ``FrameworkError`` when the library is missing or refuses to start, for example
    because the state was tampered with.
    """

    _running = False

    def __init__(self, state: MutableMapping[str, bytes]) -> None:
        if LibTpms._running:
            raise FrameworkError("libtpms holds one TPM per process and already runs one here")
        try:
            self._library = ctypes.CDLL("libtpms.so.0")
            self._libc = ctypes.CDLL(None)
        except OSError as error:
            raise FrameworkError(f"libtpms.so.0 cannot be loaded: {error}") from error
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = (ctypes.c_size_t,)
        self._state = state
        self.state_error: Exception | None = None
        self._callbacks = _Callbacks(
            ctypes.sizeof(_Callbacks),
            _NvInit(lambda: 0),
            _NvLoad(self._load),
            _NvStore(self._store),
            _NvDelete(self._delete),
        )
        self._response = _Bytes()
        self._response_size = _U32(0)
        self._buffer_size = _U32(0)
        self._process = self._library.TPMLIB_Process
        self._process.argtypes = (
            ctypes.POINTER(_Bytes),
            ctypes.POINTER(_U32),
            ctypes.POINTER(_U32),
            ctypes.c_char_p,
            _U32,
        )
        self._arguments = (
            ctypes.byref(self._response),
            ctypes.byref(self._response_size),
            ctypes.byref(self._buffer_size),
        )
        self._start()

    def _start(self) -> None:
        library = self._library
        for name, code in (
            ("TPMLIB_ChooseTPMVersion", library.TPMLIB_ChooseTPMVersion(_VERSION_2)),
            (
                "TPMLIB_RegisterCallbacks",
                library.TPMLIB_RegisterCallbacks(ctypes.byref(self._callbacks)),
            ),
            ("TPMLIB_MainInit", library.TPMLIB_MainInit()),
        ):
            if code != 0:
                cause = f": {self.state_error}" if self.state_error else ""
                raise FrameworkError(f"{name} failed with {code:#x}{cause}")
        LibTpms._running = True

    def process(self, command: bytes) -> bytes:
        """The TPM's response to one command of at most ``MAX_COMMAND_BYTES``."""
        code = self._process(*self._arguments, command, len(command))
        if code != 0:
            raise FrameworkError(f"TPMLIB_Process failed with {code:#x}")
        if self.state_error is not None:
            raise FrameworkError(f"the vTPM state could not be kept: {self.state_error}")
        return ctypes.string_at(self._response, self._response_size.value)

    def _load(self, data: object, size: object, _number: int, name: bytes) -> int:
        try:
            blob = self._state.get(name.decode())
        except Exception as error:
            self.state_error = error
            return _TPM_FAIL
        if blob is None:
            return _TPM_RETRY
        address = self._libc.malloc(len(blob) or 1)
        ctypes.memmove(address, blob, len(blob))
        data[0] = address  # type: ignore[index]
        size[0] = len(blob)  # type: ignore[index]
        return 0

    def _store(self, data: int, size: int, _number: int, name: bytes) -> int:
        try:
            self._state[name.decode()] = ctypes.string_at(data, size)
        except Exception as error:
            self.state_error = error
            return _TPM_FAIL
        return 0

    def _delete(self, _number: int, name: bytes, must_exist: int) -> int:
        try:
            found = self._state.pop(name.decode(), None)
        except Exception as error:
            self.state_error = error
            return _TPM_FAIL
        return _TPM_FAIL if must_exist and found is None else 0
