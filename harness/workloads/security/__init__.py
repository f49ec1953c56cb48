"""Attacks on the framework, each with what it changes and its positive twin (docs/attacks.md)."""
