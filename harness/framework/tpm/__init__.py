"""Talking to TPMs: processes, transports, key templates and the operations attestation needs."""
