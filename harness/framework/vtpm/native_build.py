"""Builds ``_native``, the instance's hot loop, with cffi; setuptools runs it at installation."""

from pathlib import Path

from cffi import FFI

ffibuilder = FFI()
ffibuilder.cdef(
    """
    void vtpm_serve_plain(int fd, int device);
    int vtpm_serve_tls(int fd, const uint8_t *key, long key_size, const uint8_t *certificate,
                       int certificate_size, const uint8_t *peer, int peer_size, int handshake_s,
                       int device);
    """
)
ffibuilder.set_source(
    "harness.framework.vtpm._native",
    (Path(__file__).parent / "serve.c").read_text(),
    libraries=["ssl", "crypto", "tpms"],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-fstack-protector-strong"],
)
