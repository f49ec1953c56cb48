"""Hostile input for every parser: one registry of targets, three runners (docs/fuzzing.md)."""
