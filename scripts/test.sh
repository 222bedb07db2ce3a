#!/usr/bin/env bash
# Sets up a development environment and runs every test, in a process for each core; a file stays with one, since
# its fixtures are dear. Arguments go to pytest: scripts/test.sh tests/io -x
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_venv
install_medseg "train,cluster,napari,dev"

# The tests of the viewer open real windows: on Linux on a virtual screen, never on the desktop.
opens_window() {
  xvfb-run -a .venv/bin/python -c 'from qtpy.QtWidgets import QApplication; QApplication([])' >/dev/null 2>&1
}
window_packages="xvfb xauth libegl1 libgl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon-x11-0 libx11-xcb1
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
  libxcb-xinerama0 libxcb-xkb1"
runner=()
if [ "$(uname)" = Linux ]; then
  # shellcheck disable=SC2086  # one word per package
  if opens_window || { try_packages $window_packages && opens_window; }; then
    runner=(xvfb-run -a)
  else
    say "No window can be opened here: the tests of the viewer are skipped. They need: $window_packages"
    set -- -p no:pytest-qt "$@"
  fi
fi

set -- -n auto --dist loadfile "$@"
say "Running the tests: python -m pytest $*"
exec "${runner[@]+"${runner[@]}"}" .venv/bin/python -m pytest "$@"
