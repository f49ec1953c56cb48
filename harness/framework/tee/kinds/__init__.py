"""One module for each kind of TEE; ``VERIFIERS`` in it are found without being listed anywhere."""
