"""Verification: a pure function from evidence, policy and time to a result."""
