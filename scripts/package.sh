#!/usr/bin/env bash
# Builds the program and its Debian package; prints the package's path.
#
#   scripts/package.sh [FOLDER]    where to put it (default build/packages)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

case ${1:-} in
  -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
folder=${1:-build/packages}
mkdir -p "$folder"

install_packages "${RUN_PACKAGES[@]}" dpkg-dev file
[[ -f build/release/build.ninja ]] || configure release -DSLUICE_TESTS=OFF -DSLUICE_BENCH=OFF
build release --target sluice deploy_files
rm -f "$folder"/sluice_*.deb
# cpack keeps what stands in the source tree as it is, with the modes that the umask gave it.
umask 022
(cd build/release && cpack -G DEB -B deploy/package) >build/package.log 2>&1 ||
  { tail -n 20 build/package.log >&2; die "cpack could not make the package"; }
mv build/release/deploy/package/sluice_*.deb "$folder/"
ls "$folder"/sluice_*.deb
