#!/usr/bin/env bash
# Make a wheelhouse and install from it into an empty environment with the network cut off. PIP_ARGS as for make.
set -euo pipefail
cd "$(dirname "$0")/../.."
make --no-print-directory wheelhouse
venv=$(mktemp -d)/venv
trap 'rm -rf "$(dirname "$venv")"' EXIT
cut=(env PIP_NO_INDEX=1 http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 PIP_CONFIG_FILE=/dev/null)
if unshare -rn true 2> /dev/null; then cut+=(unshare -rn); else echo "no network namespaces here: a dead proxy instead"; fi
# From other folders, and without pip's own settings, nothing may come.
env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_INDEX_URL "${cut[@]}" \
  make --no-print-directory venv VENV="$venv" WHEELHOUSE=wheelhouse PIP_ARGS=
cd /
"$venv/bin/python" -c 'import numba, tgdpet, torch; print("torch", torch.__version__)'
"$venv/bin/tgdpet" --help > /dev/null
"$venv/bin/snakemake" --version
"$venv/bin/python" -m pip check
echo "installed offline from $(ls "$OLDPWD/wheelhouse" | wc -l) wheels"
