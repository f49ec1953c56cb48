"""The nouns of an evaluation: frozen values without I/O."""
