# The commands of attestbench; each installs what it needs first (scripts/setup.sh).
BIN := .venv/bin

.PHONY: help setup bench smoke test check clean

help:
	@echo "make bench   install, run scenarios/quick.toml, render reports/quick/index.html"
	@echo "make test    install, run every test"
	@echo "make check   install, run ruff, mypy and import-linter"
	@echo "make smoke   install, run one small cell to see that everything works"
	@echo "make setup   only install: system packages and .venv"
	@echo "make clean   remove .venv and caches; results/ and reports/ stay"

setup:
	@scripts/setup.sh

bench: setup
	$(BIN)/attestbench run scenarios/quick.toml --results results
	$(BIN)/attestbench report quick --results results --out reports/quick

smoke: setup
	$(BIN)/attestbench run scenarios/smoke.toml --results results
	$(BIN)/attestbench report smoke --results results --out reports/smoke

test: setup
	$(BIN)/pytest -n 2 tests

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .benchmarks .hypothesis .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find harness tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
