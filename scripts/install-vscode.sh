#!/bin/sh
# install-vscode.sh: the real editor of the end-to-end tests, in .cache/vscode: VS Code as
# code-server, for Debian's headless Chromium, which playwright drives. About 700 MB; made
# once. Where something is missing, says which step failed and exits 1.
set -eu
cd "$(dirname "$0")/.."
code_server=4.139.1
home=$PWD/.cache/vscode
stamp=$home/.installed-$code_server-2
PATH=$PWD/.cache/node/bin:$PATH
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false

step() { # step WHAT COMMAND...
  what=$1
  shift
  "$@" >"$home/install.log" 2>&1 || {
    tail -n 20 "$home/install.log" >&2
    echo "install-vscode: this step failed: $what" >&2
    exit 1
  }
}

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

mkdir -p "$home"
if ! browser >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install-vscode: no Chromium here (package chromium)" >&2
    exit 1
  fi
  echo "Installing Chromium"
  step "apt-get update" apt-get -qq -o DPkg::Lock::Timeout=300 update
  step "apt-get install chromium" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends chromium
fi
[ -e "$stamp" ] && exit 0

echo "Installing VS Code (code-server $code_server) into .cache/vscode"
sh scripts/install-node.sh
rm -rf "$home"
mkdir -p "$home"
echo '{"private": true}' >"$home/package.json"
# Nothing has to be compiled: what is native ships prebuilt, but for the logger.
step "npm install code-server" npm --prefix "$home" install --ignore-scripts --no-save \
  "code-server@$code_server"
code=$home/node_modules/code-server/lib/vscode
step "npm install in code-server/lib/vscode" \
  npm --prefix "$code" install --omit=dev --ignore-scripts
step "npm install in code-server/lib/vscode/extensions" \
  npm --prefix "$code/extensions" install --omit=dev --ignore-scripts
rm -rf "$code/node_modules/@github" "$code/extensions/copilot"
cp scripts/spdlog.js "$code/node_modules/@vscode/spdlog/index.js"
touch "$stamp"
