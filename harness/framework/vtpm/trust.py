"""The vTPM service's own policy. It is part of what the service's launch digest covers."""

import msgspec


class ServiceTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``tee_root``: the only vendor root that pods may come from; ``pod_measurements``: which pods.

    ``certificates`` are those between the root and the processor; nothing is trusted for them.
    ``relayed``: a guest's TPM device is relayed by its host, which has no report of the guest to
    show; then no pod is checked here, and the verifier must ask for a report per attestation.
    """

    tee_root: bytes
    certificates: bytes
    pod_measurements: tuple[bytes, ...]
    relayed: bool
