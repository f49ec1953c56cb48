"""Reading the factors of a cell."""

from typing import TYPE_CHECKING, cast

from harness.model.scenario import Scalar

if TYPE_CHECKING:  # brings the TSS libraries, which a guest without a TPM does not need
    from harness.framework.tpm.keys import AkKind

_DEFAULT_AK = "ecc256"


def ak_of(factors: dict[str, Scalar]) -> "AkKind":
    """Kind of the attestation key; scenarios are checked for other values."""
    return cast("AkKind", factors.get("ak", _DEFAULT_AK))
