"""A cursor over bytes from outside: every read is bounded and says where it failed."""

import struct
from typing import Any

from harness.framework.errors import ParseError

_INTEGERS = {
    order: tuple(struct.Struct(order + letter) for letter in "BHIQ") for order in ("<", ">")
}


class Reader:
    """Reads integers and byte strings one after the other.

    ``order`` is ``>`` (TPM structures) or ``<`` (event logs). Every method raises ParseError when
    the data end early.
    """

    def __init__(self, data: bytes, what: str, order: str = ">") -> None:
        self.data, self.what, self.at = data, what, 0
        self._u8, self._u16, self._u32, self._u64 = _INTEGERS[order]

    def u8(self) -> int:
        """One byte."""
        return self._integer(self._u8)

    def u16(self) -> int:
        """Two bytes."""
        return self._integer(self._u16)

    def u32(self) -> int:
        """Four bytes."""
        return self._integer(self._u32)

    def u64(self) -> int:
        """Eight bytes."""
        return self._integer(self._u64)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self.at + size
        if end > len(self.data):
            left = len(self.data) - self.at
            raise ParseError(
                self.what, f"truncated at offset {self.at}: needs {size} bytes, {left} left"
            )
        value = self.data[self.at : end]
        self.at = end
        return value

    def sized(self) -> bytes:
        """A TPM2B: two bytes of size, then that many bytes."""
        return self.take(self.u16())

    def end(self) -> None:
        """Raises ParseError unless everything is read."""
        if self.at != len(self.data):
            raise ParseError(
                self.what, f"{len(self.data) - self.at} bytes follow at offset {self.at}"
            )

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        """Several values at once; ``form`` names its own byte order."""
        try:
            values = form.unpack_from(self.data, self.at)
        except struct.error:
            raise ParseError(self.what, f"truncated at offset {self.at}") from None
        self.at += form.size
        return values

    def _integer(self, form: struct.Struct) -> int:
        return int(self.unpack(form)[0])
