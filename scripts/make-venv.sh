#!/bin/sh
# make-venv.sh DIR: finds a Python >= 3.10 and makes a virtual environment with it.
# Says what to do when there is none, or when it comes without the venv module.
set -eu
dir=$1
wanted='import sys; sys.exit(sys.version_info < (3, 10))'

python=
for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python3.10 python py; do
  if command -v "$name" >/dev/null 2>&1 && "$name" -c "$wanted" >/dev/null 2>&1; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  echo "No Python >= 3.10 on PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2
  exit 1
fi

if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
      "python$version-venv" >/dev/null
  else
    echo "$python has no venv module. On Debian and Ubuntu:" \
      "sudo apt-get install python$version-venv" >&2
    exit 1
  fi
fi
"$python" -m venv "$dir"
