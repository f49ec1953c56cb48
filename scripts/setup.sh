#!/bin/sh
# Makes everything attestbench needs: system packages (scripts/packages.txt), then .venv with the
# versions of requirements/lock.txt. Safe to interrupt and to run twice; a second run only looks.
# Exit 4: the machine lacks something that this script can't get.
set -eu

cd "$(dirname "$0")/.."
ROOT=$(pwd -P)
PACKAGES=scripts/packages.txt
LOCK=requirements/lock.txt
VENV=.venv
STAMP=$VENV/setup-done
PATH=$PATH:/usr/sbin:/sbin # Debian keeps ldconfig and runc there, away from a user's PATH

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 4
}

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

python_has() {
    [ -n "$python" ] || return 1
    case $1 in
    headers) "$python" -c 'import os, sysconfig as s
raise SystemExit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' ;;
    venv) "$python" -c 'import ensurepip, venv' 2>/dev/null ;;
    esac
}

present() {
    case $1 in
    program:*) command -v "${1#*:}" >/dev/null ;;
    library:*) ldconfig -p 2>/dev/null | grep -q "${1#*:}" ;;
    module:*) pkg-config --exists "${1#*:}" 2>/dev/null ;;
    python:*) python_has "${1#*:}" ;;
    file:*) [ -e "${1#*:}" ] ;;
    *) fail "$PACKAGES: \"$1\" is not program:, library:, module:, python: or file:" ;;
    esac
}

# Prints "apt-name dnf-name" for each package that is not there.
look() {
    all=$(grep -v '^#' "$PACKAGES" | while read -r apt dnf check; do
        present "$check" || echo "$apt $dnf"
    done)
    missing=$(printf '%s\n' "$all" | grep -v ' -$' || true)
    missing_guest=$(printf '%s\n' "$all" | grep ' -$' | cut -d' ' -f1 || true)
}

# Those packages for guests that this distribution has, as far as apt's lists say.
guest_packages() {
    for name in $missing_guest; do
        if apt-cache show "$name" >/dev/null 2>&1; then echo "$name"; fi
    done
}

lists_empty() { ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; }

# Whether apt can be asked for something: on a distribution without the guest's packages, never again.
something_to_get() {
    [ -n "$missing" ] && return 0
    [ -n "$missing_guest" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    lists_empty || [ -n "$(guest_packages)" ]
}

column() { printf '%s\n' "$missing" | cut -d' ' -f"$1" | sort -u | tr '\n' ' ' | sed 's/ $//'; }

no_python() {
    fail "no Python 3.11 or newer on PATH" \
        "  Debian 12, Ubuntu 24.04 and later:  sudo apt-get install python3-venv python3-dev" \
        "  Fedora, RHEL:                       sudo dnf install python3.12 python3.12-devel" \
        "or set PYTHON to the one to use; then run the same command again"
}

# The lines for a person who has to install the packages by hand.
say_how() {
    [ -n "$python" ] || (no_python) || true # both messages, then one exit
    fail "$1: $(column 1)" \
        "  Debian, Ubuntu:  sudo apt-get install --no-install-recommends $(column 1)" \
        "  Fedora, RHEL:    sudo dnf install $(column 2)" \
        "then run the same command again"
}

install_packages() {
    [ "$(id -u)" = 0 ] || say_how "not root, and these packages are missing"
    command -v apt-get >/dev/null || say_how "no apt-get here, and these packages are missing"
    echo "setup: installing $(column 1)" $missing_guest
    export DEBIAN_FRONTEND=noninteractive
    # A run that was killed can leave dpkg half way; this ends what it began.
    dpkg --configure -a </dev/null >/dev/null || true
    # shellcheck disable=SC2046 # one word per package is meant
    { apt-get -qq -o DPkg::Lock::Timeout=300 update &&
        apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
            $(column 1) $(guest_packages) >/dev/null; } </dev/null ||
        say_how "apt-get failed (its message is above); still to install"
}

fingerprint() {
    { cat "$LOCK" pyproject.toml setup.py harness/framework/*/*.c harness/framework/*/*.h \
        harness/framework/*/native_build.py "$PACKAGES" scripts/setup.sh && echo "$ROOT $python"; } |
        sha256sum | cut -d' ' -f1
}

make_venv() {
    rm -f "$STAMP"
    # A venv can't move and can't change its Python, and pip takes a package that was half written
    # when it was killed for an installed one: in these cases the venv starts afresh.
    identity="$ROOT $python $("$python" -VV)"
    if [ "$(cat "$VENV/made-for" 2>/dev/null)" != "$identity" ]; then
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$VENV/made-for"
    pip="$VENV/bin/python -m pip --disable-pip-version-check --quiet"
    echo "setup: installing Python packages into $VENV (a few minutes the first time)"
    { $pip install --requirement "$LOCK" && $pip install --no-deps --editable .; } </dev/null ||
        fail "pip could not install $LOCK (its message is above); run the same command again"
    echo "$identity" >"$VENV/made-for"
    fingerprint >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
}

python=$(find_python)
look
if something_to_get; then
    install_packages
    python=$(find_python)
    look
fi
[ -n "$python" ] || no_python
[ -z "$missing" ] || say_how "$python does not see these packages"
[ -z "$missing_guest" ] || echo "setup: guests can't be built here: no $(echo $missing_guest) (everything else works)"

if [ "$(cat "$STAMP" 2>/dev/null)" != "$(fingerprint)" ]; then
    make_venv
fi
