#!/usr/bin/env bash
# In a bare machine, as root: the package installs, its program runs, and it goes without a trace.
#
#   tests/package/install_and_remove.sh [PACKAGE]    default: it is built here
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/common.sh

package=$(realpath "${1:-$(scripts/package.sh)}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What packages are there, and every file that could be the service's.
snapshot() {
  find /etc /lib/systemd /usr/bin /usr/share/man /usr/share/doc/sluice /usr/share/bash-completion \
    /usr/share/zsh /usr/share/fish /var/lib /var/log -xdev \
    ! -path '/var/lib/apt/*' ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' \
    ! -path '/var/lib/systemd/*' ! -path '/var/lib/adduser*' ! -path '/etc/ld.so.cache' \
    ! -name '*-' 2>/dev/null | sort || true  # not every folder is there
  getent passwd sluice || true
}

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Those stay when it goes: they are not what is looked for.
apt-get install -y -qq --no-install-recommends adduser init-system-helpers >/dev/null
depends=$(dpkg-deb -f "$package" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $depends >/dev/null
snapshot >"$scratch/before"

say "Installing $package"
apt-get install -y -qq --no-install-recommends "$package" >/dev/null
sluice version >/dev/null
test "$(stat -c %U:%a /var/lib/sluice)" = sluice:750
test -L /etc/systemd/system/sockets.target.wants/sluice.socket
# A key that root makes for the service is the service's own.
su -s /bin/sh sluice -c 'HOME=/var/lib/sluice sluice key add ann' >/dev/null
su -s /bin/sh sluice -c 'HOME=/var/lib/sluice sluice key list' | grep -q ann

say "Installing it again, over itself"
apt-get install -y -qq --reinstall --no-install-recommends "$package" >/dev/null
test -f /var/lib/sluice/.sluice/keys.db

say "Removing it"
apt-get remove -y -qq sluice >/dev/null
test ! -e /usr/bin/sluice
test -f /var/lib/sluice/.sluice/keys.db  # keys, models and settings stay
test -f /etc/default/sluice

say "Purging it"
apt-get purge -y -qq sluice >/dev/null
test ! -e /var/lib/sluice
snapshot >"$scratch/after"
diff "$scratch/before" "$scratch/after" || die "it left traces (above: > is left, < is missing)"
say "It came and went"
