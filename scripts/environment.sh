# Shared by demo.sh and test.sh: find Python, create .venv, install what is missing. Sourced, not run.
# bash 3.2 is enough (macOS ships it).

set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"

say() { printf '\n== %s\n' "$*"; }
stop() { printf 'stopped: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then sudo "$@"
  else return 1; fi
}

# try_packages PACKAGE...: installs with apt where that is allowed; fails quietly where it is not.
try_packages() {
  say "The system lacks some of: $*"
  command -v apt-get >/dev/null && as_root true &&
    as_root apt-get update -qq &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_packages() {
  try_packages "$@" || stop "install these with your system's package manager, then run this again: $*"
}

# The first Python of at least 3.11 on the PATH; empty where there is none.
find_python() {
  for name in python3 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

# Debian and Ubuntu ship venv and ensurepip apart from Python, as python3.X-venv.
make_venv() {
  [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  local python
  python="$(find_python)"
  if [ -z "$python" ]; then
    need_packages python3 python3-venv
    python="$(find_python)"
    [ -n "$python" ] || stop "medseg needs Python 3.11 or later; this system's package is older"
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need_packages "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  fi
  say "Creating .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

# install_medseg EXTRAS: editable, at the pinned versions. Does nothing where that is done already.
install_medseg() {
  local extras="$1" stamp wanted
  stamp=".venv/installed-${extras:-base}"
  wanted="$(cat pyproject.toml setup.py constraints.txt | cksum) $root"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    say "medseg${extras:+[$extras]} is installed in .venv"
    return
  fi
  say "Installing medseg${extras:+[$extras]} into .venv at the versions in constraints.txt"
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".${extras:+[$extras]}"
  printf '%s' "$wanted" >"$stamp"
}
