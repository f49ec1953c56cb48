"""Evidence: the envelope, its bindings, TPM quotes, and the two measurement logs."""
