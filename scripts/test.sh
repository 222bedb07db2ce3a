#!/usr/bin/env bash
# Sets up a development environment and runs every test. Arguments go to pytest: scripts/test.sh tests/io -x
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_venv
install_medseg "train,napari,dev"

say "Running the tests: python -m pytest $*"
exec .venv/bin/python -m pytest "$@"
