#!/bin/sh
# Makes .venv.peers, which holds the programs that we are measured beside (benchmarks/peers.txt).
# Needs .venv (make setup). Safe to run twice; a second run only looks.
set -eu

cd "$(dirname "$0")/.."
VENV=.venv.peers
STAMP=$VENV/setup-done

wanted=$(cat benchmarks/peers.txt requirements/lock.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
echo "peers: installing $(grep == benchmarks/peers.txt | head -1) into $VENV"
.venv/bin/python -m venv --clear "$VENV"
"$VENV/bin/python" -m pip --disable-pip-version-check --quiet install \
    --requirement benchmarks/peers.txt --constraint requirements/lock.txt </dev/null
# Keylime checks PGP signatures of policies with it; without GnuPG's headers it can't be built.
# benchmarks/keylime_worker.py says when it is absent, and what it puts in its place.
"$VENV/bin/python" -m pip --disable-pip-version-check --quiet install gpg </dev/null >/dev/null 2>&1 ||
    echo "peers: gpg can't be built here (libgpgme-dev); nothing that is measured uses it"
echo "$wanted" >"$STAMP"
