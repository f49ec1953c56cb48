"""Scenario files: TOML text to a validated Scenario, and its cells."""

from harness.scenario.cells import arms_of, canonical_json, cells_of, short_hash
from harness.scenario.library import comes_with_project, find_scenario, list_scenarios
from harness.scenario.parse import load_scenario, parse_scenario

__all__ = [
    "arms_of",
    "canonical_json",
    "cells_of",
    "comes_with_project",
    "find_scenario",
    "list_scenarios",
    "load_scenario",
    "parse_scenario",
    "short_hash",
]
