# Shared by the scripts beside it; sourced, never run. Needs bash.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
venv=${VOLCOPY_VENV:-$root/.venv}
cache=${VOLCOPY_CACHE:-$root/.cache/scripts}

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Node brings certificates of its own; a registry behind a company's needs those of the machine, as pip and apt do.
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
fi

# fetched COMMAND...: run what asks a package index, up to three times: one of its answers may fail or be slow.
fetched() {
  local try
  for try in 1 2; do
    "$@" </dev/null >&2 && return
    printf '%s: once more: %s\n' "${0##*/}" "$*" >&2
  done
  "$@" </dev/null >&2
}

# apt_install PACKAGE...: install Debian packages; one sentence where that cannot be.
apt_install() {
  command -v apt-get >/dev/null || die "needs $*, and this is not Debian: install it by hand"
  local as=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || die "needs the package $*, and only root can install it"
    as=(sudo -n)
  fi
  # The lock waits for another apt; the update is only tried when the lists do not know the package.
  local apt=(timeout 420 "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=180)
  local log
  log=$(mktemp)
  if ! "${apt[@]}" install -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
    if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
      tail -n 15 "$log" >&2
      rm -f "$log"
      die "could not install $*"
    fi
  fi
  rm -f "$log"
}
