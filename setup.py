"""The compiled part: the vTPM instance's hot loop (harness/framework/vtpm/serve.c)."""

from setuptools import setup

setup(cffi_modules=["harness/framework/vtpm/native_build.py:ffibuilder"])
