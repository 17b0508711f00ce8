"""The frame of the script that `relay setup` prints and runs. A constant.

Braces are doubled, as `str.format` wants it. Only what is missing is changed, so that
running it again does nothing; `plan` says what would be done and changes nothing.
"""

SCRIPT = """\
#!/bin/sh
# What colab-devsync needs on the relay {host}. Run it there as root:
#   sh setup.sh plan    says what would be done
#   sh setup.sh         does it; running it again changes nothing
set -eu
PATH=$PATH:/usr/sbin:/sbin
mode=${{1:-apply}}
etc=/etc/ssh
rules=$etc/sshd_config.d/{rules_name}
nologin=/usr/sbin/nologin
changed=

fail() {{ echo "error: $*" >&2; exit 1; }}
have() {{ echo "= $*"; }}
todo() {{ echo "+ $*"; changed=yes; [ "$mode" = apply ]; }}

account() {{ # NAME: no password, no shell, only what its keys permit
  if id -u "$1" >/dev/null 2>&1; then
    shell=$(getent passwd "$1" | cut -d: -f7)
    case $shell in
      */nologin | */false) have "user $1" ;;
      *) fail "the user $1 exists and has the shell $shell; choose another name" ;;
    esac
  elif todo "user $1, without password and shell"; then
    useradd --create-home --shell "$nologin" "$1"
  fi
  [ "$mode" = apply ] || return 0
  # "!" in the place of the password would lock its keys out too.
  case $(getent shadow "$1" | cut -d: -f2) in
    '!'*) usermod -p '*' "$1" ;;
  esac
}}

keys() {{ # NAME MARK: the lines of MARK in its authorized_keys are those on stdin
  wanted=$(cat)
  home=$(getent passwd "$1" | cut -d: -f6)
  file=${{home:-/home/$1}}/.ssh/authorized_keys
  others=$(grep -v " $2\\$" "$file" 2>/dev/null || true)
  text=$(printf '%s\\n%s' "$others" "$wanted" | sed '/^$/d')
  if [ "$(cat "$file" 2>/dev/null || true)" = "$text" ]; then
    have "$file"
  elif todo "$file:" && [ -n "$home" ]; then
    group=$(id -gn "$1")
    install -d -m 700 -o "$1" -g "$group" "$home/.ssh"
    printf '%s\\n' "$text" >"$file.new"
    chown "$1:$group" "$file.new"
    chmod 600 "$file.new"
    mv "$file.new" "$file"
  fi
  printf '%s\\n' "$wanted" | sed 's/^/    /'
}}

rules() {{ # sshd's rules for these accounts are those on stdin
  wanted=$(cat)
  if [ "$(cat "$rules" 2>/dev/null || true)" = "$wanted" ]; then
    have "$rules"
    return
  fi
  if todo "$rules:"; then
    mkdir -p "$etc/sshd_config.d"
    [ ! -f "$rules" ] || cp -p "$rules" "$rules.old"
    printf '%s\\n' "$wanted" >"$rules"
    if ! sshd -t; then
      if [ -f "$rules.old" ]; then mv "$rules.old" "$rules"; else rm -f "$rules"; fi
      fail "sshd does not accept $rules; it is as it was before"
    fi
    rm -f "$rules.old"
  fi
  printf '%s\\n' "$wanted" | sed 's/^/    /'
}}

effective() {{ # NAME KEY=VALUE: what sshd makes of all its files for this user
  all=$(sshd -T -C "user=$1,host=localhost,addr=127.0.0.1")
  said=$(printf '%s\\n' "$all" | grep "^${{2%%=*}} ") || said=
  [ "$said" = "${{2%%=*}} ${{2#*=}}" ] ||
    fail "sshd says '$said' for $1 instead of '${{2%%=*}} ${{2#*=}}'. Has" \\
      "$etc/sshd_config the line 'Include $etc/sshd_config.d/*.conf' near its top," \\
      "and no Match block for $1 of its own?"
}}

reload() {{ # open connections go on
  {{ systemctl reload ssh || systemctl reload sshd || service ssh reload ||
    service sshd reload || kill -HUP "$(cat /run/sshd.pid)"; }} >/dev/null 2>&1 ||
    fail "could not reload sshd; do it yourself"
}}

case $mode in plan | apply) ;; *) fail "expected plan or apply, not $mode" ;; esac
[ "$(id -u)" = 0 ] || [ "$mode" = plan ] || fail "only root can do this"
command -v sshd >/dev/null || fail "there is no OpenSSH server here"
[ "$(id -u)" = 0 ] || echo "? not root: what cannot be read is shown as still to do"

{accounts}rules <<'EOF'
{rules}EOF
if [ "$mode" = plan ]; then
  [ -z "$changed" ] || echo "+ reload sshd"
  exit 0
fi
{checks}
if [ -n "$changed" ]; then reload; echo "+ reload sshd"; fi
echo "done"
"""
