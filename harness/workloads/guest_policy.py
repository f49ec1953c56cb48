"""IMA policies that a guest loads, in the kernel's own words (Documentation, ABI, ima_policy).

The arm that needs no patch: file systems told apart by their UUID, each with a PCR of its own.
"""

from harness.guest.image import CONTAINER_UUIDS

FIRST_IMAGE_PCR = 11

# What the builtin policy "tcb" leaves out: file systems without content of their own.
_IGNORED_MAGICS = (
    "0x9fa0",
    "0x62656572",
    "0x64626720",
    "0x1021994",
    "0x1cd1",
    "0x42494e4d",
    "0x73636673",
    "0xf97cff8c",
    "0x43415d53",
    "0x27e0eb",
    "0x63677270",
    "0x6e736673",
    "0xde5e81e4",
)
_TCB = (
    "func=MMAP_CHECK mask=MAY_EXEC",
    "func=BPRM_CHECK mask=MAY_EXEC",
    "func=FILE_CHECK mask=^MAY_READ euid=0",
    "func=FILE_CHECK mask=^MAY_READ uid=0",
    "func=MODULE_CHECK",
    "func=FIRMWARE_CHECK",
    "func=POLICY_CHECK",
)
_PER_IMAGE = (
    "func=MMAP_CHECK mask=MAY_EXEC",
    "func=BPRM_CHECK mask=MAY_EXEC",
    "func=FILE_CHECK mask=^MAY_READ uid=0",
)


def per_image_policy() -> bytes:
    """The stock policy, before which each container image has a PCR: 11 for a, 12 for b."""
    lines = [f"dont_measure fsmagic={magic}" for magic in _IGNORED_MAGICS]
    for pcr, uuid in enumerate(CONTAINER_UUIDS.values(), FIRST_IMAGE_PCR):
        lines += [f"measure {rule} fsuuid={uuid} pcr={pcr}" for rule in _PER_IMAGE]
    lines += [f"measure {rule}" for rule in _TCB]
    return "".join(f"{line}\n" for line in lines).encode()
