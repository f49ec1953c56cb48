"""The vTPM service's own policy. It is part of what the service's launch digest covers."""

import msgspec


class ServiceTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``tee_root``: the only vendor root that pods may come from; ``pod_measurements``: which pods.

    ``certificates`` are those between the root and the processor; nothing is trusted for them.
    """

    tee_root: bytes
    certificates: bytes
    pod_measurements: tuple[bytes, ...]
