#!/bin/sh
# install-system-deps.sh [bench]: programs that tests (or the benchmark) talk to.
# Installs what is missing where it may (root with apt-get), names what it could not.
# A missing program is a skipped test here, and a failure where CI=true.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# program=package; the first list is what the tests need
needed="sshd=openssh-server ssh=openssh-client rsync=rsync git=git setpriv=util-linux"
needed="$needed zsh=zsh fish=fish tcsh=tcsh" # login shells that agents start in
needed="$needed gdb=gdb" # lets debuggers into running programs
needed="$needed openssl=openssl socat=socat ip=iproute2" # a tunnel; network namespaces
needed="$needed emacs=emacs-nox,elpa-eglot" # eglot is part of newer ones
needed="$needed javac=default-jdk-headless mvn=maven" # JetBrains IDEs speak LSP in Java
optional=
if [ "${1:-}" = bench ]; then
  optional="zstd=zstd unison=unison lsyncd=lsyncd"
fi

missing() {
  for pair in $1; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || printf '%s ' "$pair"
  done
}

absent=$(missing "$needed $optional")
[ -n "$absent" ] || exit 0

packages=$(for pair in $absent; do printf '%s ' "${pair#*=}"; done | tr , ' ')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing $packages"
  # A server that starts by itself is not wanted: tests run their own on 127.0.0.1.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get -qq update || true
  # One by one: a package this system does not have must not stop the others.
  for package in $packages; do
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
      "$package" >/dev/null 2>&1 || echo "apt-get could not install $package" >&2
  done
fi

absent=$(missing "$needed")
for pair in $absent $(missing "$optional"); do
  echo "skipped here: what needs ${pair%%=*} (package ${pair#*=} is not installed)" >&2
done
if [ -n "$absent" ] && [ "${CI:-}" = true ]; then
  echo "CI=true: nothing may be skipped" >&2
  exit 1
fi
