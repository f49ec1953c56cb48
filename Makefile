# The commands of attestbench; each installs what it needs first (scripts/setup.sh).
BIN := .venv/bin

.PHONY: help setup guest bench smoke security security-guest test fuzz fuzz-quick speed check clean

help:
	@echo "make bench   install, run quick and quick-ima, render reports/quick{,-ima}/index.html"
	@echo "make test    install, build the guest, run every test"
	@echo "make fuzz    install, feed each parser a million hostile inputs (resumes; docs/fuzzing.md)"
	@echo "make fuzz-quick  the same with 20,000 inputs each"
	@echo "make speed   install, run the verifier beside Keylime's (docs/performance.md)"
	@echo "make security  install, run every attack, render reports/security/index.html"
	@echo "make security-guest  install, build the guest, play the attacks that need one, render"
	@echo "make check   install, run ruff, mypy and import-linter"
	@echo "make smoke   install, run one small cell to see that everything works"
	@echo "make guest   install, build the kernels and images of guests (18 CPU minutes, once)"
	@echo "make setup   only install: system packages and .venv"
	@echo "make clean   remove .venv and caches; results/, reports/ and the built guest stay"
	@echo "             (attestbench guest clean removes the guest)"

setup:
	@scripts/setup.sh

guest: setup
	$(BIN)/attestbench guest build

bench: guest
	$(BIN)/attestbench run scenarios/quick.toml --results results
	$(BIN)/attestbench report quick --results results --out reports/quick
	$(BIN)/attestbench run scenarios/quick-ima.toml --results results
	$(BIN)/attestbench report quick-ima --results results --out reports/quick-ima

smoke: setup
	$(BIN)/attestbench run scenarios/smoke.toml --results results
	$(BIN)/attestbench report smoke --results results --out reports/smoke

security: setup
	$(BIN)/attestbench run scenarios/security.toml --results results
	$(BIN)/attestbench report security --results results --out reports/security

security-guest: guest
	$(BIN)/attestbench run scenarios/security-guest.toml --results results
	$(BIN)/attestbench report security-guest --results results --out reports/security-guest

test: guest
	$(BIN)/pytest -n 2 --dist loadfile tests

fuzz: setup
	$(BIN)/python -m tests.fuzz.campaign --inputs 1000000 --out .fuzz

fuzz-quick: setup
	$(BIN)/python -m tests.fuzz.campaign --inputs 20000 --out .fuzz

speed: setup
	@benchmarks/peers.sh
	$(BIN)/python -m benchmarks.verifier_speed

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .benchmarks .hypothesis .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find harness tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
