#!/usr/bin/env bash
# Makes a bare Debian 12 in a folder, clones what is committed here into it and runs a command there:
# shows what the README's commands forget to install.
#
#   scripts/bare_machine.sh [--with 'PACKAGE ...'] [--user] COMMAND...
#
#   --with   packages that happen to be there already
#   --user   an ordinary user with sudo runs the command, not root
#
# Needs root and debootstrap; status 77 where such a machine cannot be made. It keeps the bare system
# in build/bare for the next time, and takes the settings of apt and pip and the compiler's cache from
# this machine. Mounts and processes live in namespaces of their own: they end with the script, even
# when it is killed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh
mkdir -p build

packages='' user=root home=/root
while [[ ${1:-} == -* ]]; do
  case $1 in
    --with) packages=$2; shift ;;
    --user) user=visitor home=/home/visitor ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
  esac
  shift
done

cannot() { say "No bare machine here: $*"; exit 77; }

# make_base FOLDER: the bare system, with the settings that packages are fetched with here.
make_base() {
  local mirror
  mirror=$(grep -rhoP '^(deb|URIs:).*?\Khttps?://\S+/debian(?=/?(\s|$))' /etc/apt/sources.list* |
    head -n 1)
  rm -rf "$1.partial"
  debootstrap --variant=minbase --include=ca-certificates,git,sudo bookworm "$1.partial" \
    ${mirror:+"$mirror"} >build/bare.log 2>&1 || return 1
  cp --parents -t "$1.partial" /etc/apt/sources.list.d/debian.sources /etc/pip.conf /etc/hosts \
    /etc/resolv.conf $(grep -l Acquire /etc/apt/apt.conf.d/*) 2>/dev/null || true
  rm -rf "$1.partial/etc/ssl/certs"
  cp -rL /etc/ssl/certs "$1.partial/etc/ssl/"
  chroot "$1.partial" useradd -m -s /bin/bash visitor
  echo 'visitor ALL=(ALL) NOPASSWD:ALL' >"$1.partial/etc/sudoers.d/visitor"
  mv "$1.partial" "$1"
}

# enter USER HOME COMMAND...: runs it in the machine as if that user had just logged in.
enter() {
  chroot --userspec="$1" "$root" env -i HOME="$2" TERM=dumb LANG=C.UTF-8 "${passed_on[@]}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${@:3}"
}

# live COMMAND...: sets up the machine and runs the command; called inside the namespaces.
live() {
  local name install
  mount --rbind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  # The network is shared: a port of its own keeps the machine from a server that runs outside.
  passed_on=(SLUICE_HOST="127.0.0.1:$((20000 + RANDOM % 10000))")
  for name in http_proxy https_proxy no_proxy SSL_CERT_FILE PIP_CERT SLUICE_FUZZ_SECONDS; do
    [[ -z ${!name:-} ]] || passed_on+=("$name=${!name}")
  done
  if [[ -d $cache ]]; then
    mkdir -p "$root$home/.cache/ccache"
    if [[ $user == root ]]; then
      mount --bind "$cache" "$root$home/.cache/ccache"
    else
      cp -a "$cache/." "$root$home/.cache/ccache/"  # root's files are not the user's to write
    fi
  fi
  enter root /root chown -R "$user:" "$home" /home/visitor/project
  if [[ -n $packages ]]; then
    install='apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null'
    # shellcheck disable=SC2086
    enter root /root sh -c "$install" sh $packages
  fi
  enter "$user" "$home" sh -c 'cd /home/visitor/project && exec "$@"' sh "$@"
}

((EUID == 0)) || cannot "it needs root"
command -v debootstrap >/dev/null || cannot "debootstrap is not installed"
unshare --mount --pid --fork mount -t proc proc /proc 2>/dev/null ||
  cannot "namespaces or mounts are not allowed"
[[ -d build/bare ]] || make_base build/bare || cannot "debootstrap failed (see build/bare.log)"

root=$(mktemp -d "$PWD/build/bare.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
cache=$(ccache --get-config cache_dir 2>/dev/null || true)
[[ -z $cache ]] || mkdir -p "$cache"
say "A bare machine in $root"
cp -a build/bare/. "$root/"
git clone -q . "$root/home/visitor/project"
export root user home cache packages
export -f live enter
unshare --mount --pid --kill-child bash -euc 'live "$@"' live "$@"
