"""The compiled parts: the hot loops of a vTPM instance and of an IMA list's replay."""

from setuptools import setup

setup(
    cffi_modules=[
        f"harness/framework/{part}/native_build.py:ffibuilder" for part in ("vtpm", "evidence")
    ]
)
