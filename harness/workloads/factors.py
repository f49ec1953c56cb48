"""Reading the factors of a cell."""

from typing import cast

from harness.framework.tpm.keys import AkKind
from harness.model.scenario import Scalar

_DEFAULT_AK = "ecc256"


def ak_of(factors: dict[str, Scalar]) -> AkKind:
    """Kind of the attestation key; scenarios are checked for other values."""
    return cast(AkKind, factors.get("ak", _DEFAULT_AK))
