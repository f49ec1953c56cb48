"""The attestation framework: usable without the harness, and importing nothing else of it."""
