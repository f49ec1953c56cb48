"""The guest kernels as they are built: what their configurations have and how they differ."""

import pytest

from harness.guest.build import Kernels, build_kernels
from harness.guest.kernel_build import KernelParts
from harness.guest.kernel_config import read_config


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return build_kernels()


def test_both_start_as_efi_programs_and_as_linux(kernels: Kernels) -> None:
    for path in (kernels.stock, kernels.namespaced):
        content = path.read_bytes()
        assert content[:2] == b"MZ"
        assert content[0x202:0x206] == b"HdrS"
        assert b"attestbench@attestbench" in content[:0x8000]


def test_the_series_is_all_that_differs(kernels: Kernels) -> None:
    parts = KernelParts()
    stock = read_config((kernels.stock.parent / ".config").read_text())
    patched = read_config((kernels.namespaced.parent / ".config").read_text())
    assert read_config(parts.namespaced.read_text()).items() <= patched.items()
    differing = {name for name in stock.keys() | patched if stock.get(name) != patched.get(name)}
    assert differing
    assert all(name.startswith("CONFIG_IMA_NS") for name in differing)


def test_only_one_has_measurement_domains(kernels: Kernels) -> None:
    assert "ima_ns_" not in (kernels.stock.parent / "System.map").read_text()
    assert "ima_ns_" in (kernels.namespaced.parent / "System.map").read_text()
