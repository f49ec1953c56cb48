"""``estimates.json``: what the statistics say, beside the data they say it about."""

from pathlib import Path

import msgspec

from harness.model.errors import InputError
from harness.model.estimate import CampaignEstimates
from harness.store.files import replace_durably, writing
from harness.store.layout import Layout
from harness.store.reader import read_bytes


def write_estimates(directory: Path, estimates: CampaignEstimates) -> None:
    """Replace ``estimates.json`` atomically."""
    path = Layout(directory).estimates
    content = msgspec.json.format(msgspec.json.encode(estimates), indent=1) + b"\n"
    with writing(path):
        replace_durably(path, content)


def read_estimates(directory: Path) -> CampaignEstimates:
    """``estimates.json``; InputError when it is missing or damaged."""
    path = Layout(directory).estimates
    content = read_bytes(path, f"{path}: no estimates yet; `attestbench report` writes them")
    try:
        return msgspec.json.decode(content, type=CampaignEstimates)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path}: damaged: {error}; delete it, `attestbench report` writes it again"
        ) from None
