"""The verifier as a service over HTTPS: challenge, evidence, signed attestation result."""
