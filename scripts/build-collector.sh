#!/usr/bin/env bash
# Builds the OpenTelemetry Collector that the tests send to, from Debian's source packages of the
# OpenTelemetry project (suite sid) and Debian's Go. Works on Debian of any suite, as any user; the
# machine's own packages, lists and settings are neither changed nor asked: apt works on a private
# state inside the directory, which is gone at the end.
#
#   scripts/build-collector.sh DIRECTORY      leaves DIRECTORY/otelcol-test (needs 3 GB while it works)
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 DIRECTORY" >&2
    exit 2
fi
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/xtask/otelcol
mkdir -p "$1"
target=$(cd "$1" && pwd)
work=$target/build
mirror=${DEBIAN_MIRROR:-}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "build-collector: $*" >&2
    exit 1
}
began=$SECONDS
say() { echo "build-collector: $((SECONDS - began)) s: $*"; }

for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || fail "$program is not here; this needs Debian's package tools"
done
[ -r "$keyring" ] || fail "$keyring is not here (package debian-archive-keyring)"
free=$(df --output=avail -BM "$target" | tail -n 1 | tr -dc '0-9')
[ "$free" -ge 3500 ] || fail "$free MB are free below $target; 3500 are needed"

# The mirror that this machine uses already, if it is one of Debian.
if [ -z "$mirror" ]; then
    mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null |
        sed -n 's/^\(URIs:\|deb\) *\(\[[^]]*\] *\)\{0,1\}\(https\{0,1\}:[^ ]*\/debian\/\{0,1\}\)\( .*\)\{0,1\}$/\3/p' |
        head -n 1 || true)
fi
mirror=${mirror:-http://deb.debian.org/debian}

# Debris of a run that was killed.
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,root,gopath/src/otelcol-test}
: >"$work/status"
cat >"$work/parts/sid.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: sid
Components: main
Signed-By: $keyring
SOURCES

private=(
    -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/parts"
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status"
    -o Dir::Cache="$work/cache" -o Dir::Cache::Archives="$work/cache/archives"
    -o Dir::Log="$work" -o APT::Sandbox::User= -o APT::Install-Recommends=false
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Update::Error-Mode=any -o Debug::NoLocking=true
)
say "fetching the lists of sid from $mirror"
apt-get "${private[@]}" -qq update || fail "cannot fetch the lists of sid from $mirror (DEBIAN_MIRROR names another)"

# The newest Go on offer: the packages ask for one, and which it is moves with sid.
go=$(apt-cache "${private[@]}" pkgnames golang-1. | sed -n 's/^golang-\(1\.[0-9]*\)-go$/\1/p' | sort -V | tail -n 1)
[ -n "$go" ] || fail "sid at $mirror has no golang-1.*-go"
apt-cache "${private[@]}" show golang-opentelemetry-collector-dev >/dev/null 2>&1 ||
    fail "sid at $mirror has no golang-opentelemetry-collector-dev"

say "fetching the sources of the collector, and Go $go"
apt-get "${private[@]}" -qq -y --download-only install \
    golang-opentelemetry-collector-dev "golang-$go-go" "golang-$go-src" >"$work/apt.log" 2>&1 ||
    { cat "$work/apt.log" >&2; fail "cannot fetch the packages"; }

say "unpacking $(du -sm "$work/cache/archives" | cut -f1) MB"
# Only what Go reads; each package goes once it is unpacked.
for package in "$work"/cache/archives/golang-*.deb; do
    dpkg-deb --fsys-tarfile "$package" |
        tar -x -C "$work/root" --wildcards --exclude='*_test.go' \
            './usr/share/gocode/*' "./usr/lib/go-$go/*" "./usr/share/go-$go/*" 2>/dev/null || true
    rm "$package"
done

say "building"
cp "$source"/*.go "$work/gopath/src/otelcol-test/"
env -i PATH="$PATH" HOME="$work" GO111MODULE=off GOTOOLCHAIN=local GOFLAGS= CGO_ENABLED=0 \
    GOCACHE="$work/gocache" GOROOT="$work/root/usr/lib/go-$go" \
    GOPATH="$work/gopath:$work/root/usr/share/gocode" \
    "$work/root/usr/lib/go-$go/bin/go" build -trimpath -gcflags='all=-N -l' -ldflags='-s -w' -o "$work/otelcol-test" otelcol-test ||
    fail "the collector does not build with Go $go"

"$work/otelcol-test" components >"$work/components" || fail "the collector was built, but does not run"
for component in jsonfile otlp memory_limiter; do
    grep -q "name: $component\$" "$work/components" || fail "the collector was built without $component"
done
mv "$work/otelcol-test" "$target/otelcol-test"
say "done"
