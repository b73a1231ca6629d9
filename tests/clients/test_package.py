"""The Debian package: what is in it, and what lintian says of it."""

import shutil
import subprocess

import pytest
from conftest import ROOT

BUILD = ROOT / "build/release"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    for tool in ("cpack", "dpkg-deb", "dpkg-shlibdeps"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if not (BUILD / "deploy/sluice.1.gz").exists():
        pytest.skip("build/release has no files to package (target deploy_files)")
    folder = tmp_path_factory.mktemp("package")
    done = subprocess.run(["cpack", "-G", "DEB", "-B", folder], cwd=BUILD, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = list(folder.glob("sluice_*.deb"))
    assert len(found) == 1
    return found[0]


def tell(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_everything_is_where_debian_has_it(package):
    files = {line.split()[5]: line.split() for line in tell("dpkg-deb", "-c", package).splitlines()}
    for name in ("usr/bin/sluice", "lib/systemd/system/sluice.service",
                 "lib/systemd/system/sluice.socket", "etc/default/sluice", "etc/logrotate.d/sluice",
                 "usr/share/man/man1/sluice.1.gz", "usr/share/bash-completion/completions/sluice",
                 "usr/share/zsh/vendor-completions/_sluice",
                 "usr/share/fish/vendor_completions.d/sluice.fish",
                 "usr/share/doc/sluice/copyright", "usr/share/doc/sluice/operations.md"):
        assert f"./{name}" in files, name
    assert files["./usr/bin/sluice"][0] == "-rwxr-xr-x"
    assert files["./etc/default/sluice"][0] == "-rw-r--r--"
    assert {line[1] for line in files.values()} == {"root/root"}


def test_it_says_what_it_needs(package):
    depends = tell("dpkg-deb", "-f", package, "Depends")
    for name in ("libc6", "libsqlite3-0", "libcurl4", "libsystemd0", "adduser"):
        assert name in depends, depends


def test_lintian_finds_no_error(package):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--fail-on", "error", "--tag-display-limit", "0", package],
                          capture_output=True, text=True, timeout=120)
    errors = [line for line in done.stdout.splitlines() if line.startswith("E:")]
    assert errors == [] and done.returncode == 0, done.stdout + done.stderr
