#!/usr/bin/env bash
# Makes a new machine ready to build and test why502: Debian, Ubuntu, Fedora and the Enterprise Linux
# family. Run as root at the top of the workspace, or name the workspace. Run twice, it does nothing
# the second time.
#
#   scripts/provision.sh [WORKSPACE]
set -euo pipefail

cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

say() { echo "provision: $*" >&2; }

if [ "$(id -u)" -ne 0 ]; then
    say "must run as root (sudo $0)"
    exit 2
fi

# Set-up fetches what else it needs on Debian and Ubuntu. Elsewhere the proxies are installed here,
# one by one, since not every distribution has all of them.
if command -v apt-get >/dev/null; then
    apt-get update -q
    scripts/apt-install.sh build-essential ca-certificates curl git python3-pip tar zstd
elif command -v dnf >/dev/null; then
    dnf install -y -q gcc gcc-c++ make git-core tar zstd python3-pip iproute util-linux
    # A minimal image has a smaller build of curl, which conflicts with the full one.
    command -v curl >/dev/null || dnf install -y -q curl
    # The Enterprise Linux family has some of what the tests use in EPEL only.
    if [ -e /etc/redhat-release ] && [ ! -e /etc/fedora-release ]; then
        dnf install -y -q epel-release || say "no EPEL here"
    fi
    for package in nginx haproxy httpd mod_ssl mod_http2 nftables openssl bpftool caddy debootstrap; do
        dnf install -y -q "$package" || say "no package $package here"
    done
else
    say "neither apt-get nor dnf here; install a C compiler, curl, git, tar, zstd and pip yourself"
fi

export PATH="$HOME/.cargo/bin:$PATH"
if ! command -v rustup >/dev/null; then
    say "installing rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        sh -s -- -y --quiet --profile minimal --component clippy,rustfmt
fi

# The one thing that set-up cannot get everywhere: a bpf-linker without its LLVM on offer.
fetch_linker() {
    # The release that `cargo xtask setup` builds where it can; a test keeps the two equal.
    local version=0.13.0
    local url="https://github.com/aya-rs/bpf-linker/releases/download/v$version"
    say "fetching bpf-linker $version"
    curl -fsSL "$url/bpf-linker-$(uname -m)-unknown-linux-musl.tar.zst" |
        tar --zstd -x -C "$HOME/.cargo/bin"
}

if ! cargo xtask setup; then
    command -v bpf-linker >/dev/null || fetch_linker
    cargo xtask setup
fi
say "ready: cargo xtask demo"
