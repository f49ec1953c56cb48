"""The host's side of a launch: its TPM agent, its secure processor, and the authority's key broker."""
