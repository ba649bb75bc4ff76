#!/bin/sh
# Makes the virtual environment of the Makefile, or says what is missing and how to get it.
set -eu
: "${PYTHON:=python3}" "${VENV:=.venv}"

say() { printf '%s\n' "$*" >&2; }

# apt-get, tried again for up to ten minutes while another process holds one of its locks: a fresh
# machine upgrades itself, and apt's own DPkg::Lock::Timeout does not wait for the lock of the lists.
apt() {
    tries=120
    while ! words=$($root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get "$@" 2>&1); do
        case $words in *"Could not get lock"*) ;; *) tries=0 ;; esac
        if [ "$tries" -eq 0 ]; then
            say "$words"
            return 1
        fi
        [ "$tries" -lt 120 ] || say "Another process is installing or upgrading packages; waiting for it."
        tries=$((tries - 1))
        sleep 5
    done
}

if ! command -v "$PYTHON" >/dev/null 2>&1; then
    say "pronoia needs Python 3.11 or newer, and '$PYTHON' is not on PATH."
    say "Install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3 …"
    exit 1
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "pronoia needs Python 3.11 or newer; $PYTHON is $("$PYTHON" -V 2>&1)."
    say "Install a newer one beside it and name it: make PYTHON=python3.12 …"
    exit 1
fi
# Debian and Ubuntu ship venv apart from Python.
if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if command -v apt-get >/dev/null 2>&1; then
        root=
        if [ "$(id -u)" -ne 0 ]; then
            root=sudo
            say "Python's venv module is missing: installing it with sudo apt-get (you may be asked for your password)."
        fi
        apt update -qq || true  # A stale index often still serves.
        apt install -y -qq "python$version-venv" || apt install -y -qq python3-venv
    else
        say "Python's venv module is missing; install it with your system's packages (often python3-venv), then try again."
        exit 1
    fi
fi
say "Making a virtual environment in $VENV …"
"$PYTHON" -m venv "$VENV"
# The pip that Python ships is years old and looks through long indexes five times slower; it works, though.
"$VENV/bin/pip" install --quiet --disable-pip-version-check --upgrade pip || true
