"""The host's side of a launch: TPM agent, secure processor, and the authority's key broker."""
