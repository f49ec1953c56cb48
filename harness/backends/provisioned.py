"""The emulated host that the trials of a session share."""

from pathlib import Path

from harness.framework.errors import FrameworkError
from harness.model.errors import EnvironmentError_


def provisioned(host: Path) -> Path:
    """``host``, made and enrolled there unless it is whole already.

    Raises:
        EnvironmentError_: a program is missing or the enrolment is refused.
    """
    # Not at the top: what plans and reports must not load the TPM's libraries.
    from harness.framework.host.platform import HostPlatform

    try:
        HostPlatform.provision(host)
    except (FrameworkError, OSError) as error:
        raise EnvironmentError_(f"the host platform cannot be provisioned: {error}") from error
    return host
