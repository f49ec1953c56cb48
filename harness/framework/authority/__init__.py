"""The authority: enrols hosts, certifies their hardware TPM's key, revokes, releases state keys."""

from harness.framework.authority.authority import Authority, Enrolment, HostKeys

__all__ = ["Authority", "Enrolment", "HostKeys"]
