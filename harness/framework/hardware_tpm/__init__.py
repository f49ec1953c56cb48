"""The host's hardware TPM: its endorsement, its attestation key, and what that key issues."""

from harness.framework.hardware_tpm.hardware_tpm import HardwareTpm

__all__ = ["HardwareTpm"]
