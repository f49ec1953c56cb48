"""Builds ``_native``, the hot loop of IMA lists, with cffi; setuptools runs it at installation."""

import re
from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent
_SOURCES = ("ima_tables.c", "ima_walk.c")

ffibuilder = FFI()
ffibuilder.cdef(re.sub(r"/\*.*?\*/", "", (_HERE / "ima_walk.h").read_text(), flags=re.DOTALL))
ffibuilder.set_source(
    "harness.framework.evidence._native",
    "\n".join((_HERE / name).read_text() for name in _SOURCES),
    libraries=["crypto"],
    include_dirs=[str(_HERE)],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-fstack-protector-strong"],
)
