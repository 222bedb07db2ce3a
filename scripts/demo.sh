#!/usr/bin/env bash
# Sets medseg up and segments a sample scan: a crop round the left hippocampus of the ICBM 2009a T1 template.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_venv
install_medseg ""

scan=demo/icbm_left_hippocampus.nii.gz
if [ ! -f "$scan" ]; then
  say "Fetching the sample scan (nilearn's package holds it; the package itself is not installed)"
  mkdir -p demo
  .venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
    -c constraints.txt -d demo/download nilearn
  .venv/bin/python scripts/make_sample.py demo/download/nilearn-*.whl "$scan"
  rm -r demo/download
fi

say "Segmenting $scan with the built-in model: medseg infer -m hippocampus --preview"
.venv/bin/medseg infer "$scan" -m hippocampus -o demo --preview "$@"

say "medseg is ready: source .venv/bin/activate, then medseg --help"
