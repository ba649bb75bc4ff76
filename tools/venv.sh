#!/bin/sh
# Makes the virtual environment of the Makefile, or says what is missing and how to get it.
set -eu
: "${PYTHON:=python3}" "${VENV:=.venv}"

say() { printf '%s\n' "$*" >&2; }

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
        $root apt-get update -qq
        $root apt-get install -y -qq "python$version-venv" || $root apt-get install -y -qq python3-venv
    else
        say "Python's venv module is missing; install it with your system's packages (often python3-venv), then try again."
        exit 1
    fi
fi
say "Making a virtual environment in $VENV …"
exec "$PYTHON" -m venv "$VENV"
