"""The command `attestbench`: one file per verb, each parses, calls and prints."""
