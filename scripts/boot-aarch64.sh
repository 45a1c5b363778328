#!/usr/bin/env bash
# Boots Debian's arm64 kernels under QEMU (emulated, no KVM needed) with why502 and a real NGINX, makes four
# requests fail in four ways, and compares the verdicts. Works on Debian of any suite, as any user; the
# machine's own packages, lists and settings are neither changed nor asked.
#
#   scripts/boot-aarch64.sh PROGRAM [SUITE...]
#
# PROGRAM is why502 for aarch64 (bin/why502 of the tarball that `cargo xtask dist --target aarch64` makes);
# the suites are bullseye (5.10), bookworm (6.1), trixie (6.12) and sid, all if none is named. Needs 2 GB in
# $TMPDIR while it works, some minutes, and the packages qemu-system-arm, cpio and xz-utils.
set -euo pipefail

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
fail() {
    echo "boot-aarch64: $*" >&2
    exit 1
}
began=$SECONDS
say() { echo "boot-aarch64: $((SECONDS - began)) s: $*"; }

[ $# -ge 1 ] || usage
program=$1
shift
[ $# -ge 1 ] || set -- bullseye bookworm trixie sid
[ -x "$program" ] || fail "$program is not there; cargo xtask dist --target aarch64 makes it"
qemu=${QEMU:-qemu-system-aarch64}
for tool in "$qemu" cpio xz apt-get dpkg-deb timeout; do
    command -v "$tool" >/dev/null || fail "$tool is not here (packages qemu-system-arm, cpio, xz-utils, apt, coreutils)"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is not here (package debian-archive-keyring)"
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

# apt SUITE COMMAND...: on a private state of that suite, for arm64; what it fetches is checked against the
# signed index.
apt() {
    local suite=$1 command=$2 state=$work/apt-$1
    shift 2
    if [ ! -d "$state" ]; then
        mkdir -p "$state"/{lists/partial,cache/archives/partial,parts}
        : >"$state/status"
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
            "$mirror" "$suite" "$keyring" >"$state/parts/debian.sources"
    fi
    "$command" -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
        -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false \
        -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$state/parts" \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$state" -o Dir::State::Lists="$state/lists" -o Dir::State::Status="$state/status" \
        -o Dir::Cache="$state/cache" "$@"
}

# packages SUITE INTO NAME...: unpacks them, with all that they need, below a directory.
packages() {
    local suite=$1 into=$2
    shift 2
    apt "$suite" apt-get update >"$work/log" 2>&1 || fail "no index of $suite: $(tail -n 1 "$work/log")"
    apt "$suite" apt-get install --yes --download-only "$@" >"$work/log" 2>&1 ||
        fail "cannot fetch $* of $suite: $(tail -n 3 "$work/log")"
    mkdir -p "$into"
    for file in "$work/apt-$suite"/cache/archives/*.deb; do
        dpkg-deb --extract "$file" "$into"
        rm "$file"
    done
}

say "fetching NGINX for arm64"
root=$work/root
packages trixie "$work/guest" nginx busybox-static
mkdir -p "$root"/{dev,proc,sys,tmp,run,etc,usr/bin,usr/sbin,usr/lib,var/log/nginx,var/lib/nginx}
cp -a "$work"/guest/usr/lib/aarch64-linux-gnu "$work"/guest/usr/lib/ld-linux-aarch64.so.1 "$root/usr/lib/"
cp "$work"/guest/usr/bin/busybox "$root/usr/bin/"
cp "$work"/guest/usr/sbin/nginx "$root/usr/sbin/"
cp "$program" "$root/usr/bin/why502"
rm -rf "$work/guest" "$root"/usr/lib/aarch64-linux-gnu/{gconv,perl*}
for name in bin sbin lib; do ln -s "usr/$name" "$root/$name"; done
echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"

# A backend is what `nc` starts for each connection: the way in which it ends is the fault.
backend() {
    printf '#!/bin/busybox sh\n%s\n' "$2" >"$root/usr/bin/backend-$1"
    chmod +x "$root/usr/bin/backend-$1"
}
# $ and \r are the guest's.
# shellcheck disable=SC2016
head='while read -r line && [ "$line" != "$(printf "\r")" ]; do :; done'
backend fin "$head"
backend rst 'read -r line'
backend own "$head; printf 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n'"
cat >"$root/etc/nginx.conf" <<'NGINX'
worker_processes 1; error_log /tmp/nginx.log; pid /tmp/nginx.pid; user root root;
events {}
http {
  access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 127.0.0.1:8080;
    location /fin { proxy_pass http://127.0.0.1:9001; }
    location /rst { proxy_pass http://127.0.0.1:9002; }
    location /own { proxy_pass http://127.0.0.1:9003; }
    location /refused { proxy_pass http://127.0.0.1:9004; } } }
NGINX
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t debugfs debug /sys/kernel/debug; mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
echo "guest: up $(uname -r)"
why502 doctor --load --format json >/tmp/doctor 2>&1
echo "guest: load $(sed -n 's/.*"verified_insns": \([0-9]*\).*/\1/p' /tmp/doctor | sort -n | tail -n 1)"
nginx -c /etc/nginx.conf
nc -ll -p 9001 -e /bin/backend-fin & nc -ll -p 9002 -e /bin/backend-rst & nc -ll -p 9003 -e /bin/backend-own &
why502 capture --duration 90s --count 4 --format ndjson >/tmp/cases 2>/tmp/said &
capture=$!
n=0; until grep -q tracing /tmp/said || [ $n -ge 120 ]; do sleep 1; n=$((n + 1)); done
for fault in fin rst own refused; do wget -q -O - "http://127.0.0.1:8080/$fault/1"; done >/dev/null 2>&1
wait $capture
echo "guest: exit $?"
sed 's/^/guest: said /' /tmp/said
sed -n 's/.*"path":"\/\([a-z]*\)\/1".*"verdict":{"rule":"\([^"]*\)","confidence":"\([a-z]*\)".*/guest: case \1 \2 \3/p' /tmp/cases
sed -n 's/.*"type":"loss","name":"\([^"]*\)".*/guest: lost \1/p' /tmp/cases
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet --create --format=newc) | gzip -1 >"$work/initramfs"

wanted='case fin fin-before-response
case own application-502
case refused connect-refused
case rst rst-before-response'
status=0
for suite; do
    say "fetching the kernel of $suite"
    packages "$suite" "$work/$suite" linux-image-cloud-arm64
    image=$(find "$work/$suite" -name 'vmlinuz*' -type f | head -n 1)
    [ -n "$image" ] || fail "the packages of $suite hold no image"
    console=$work/console-$suite
    # `-cpu cortex-a72`: what pointer authentication costs under emulation is most of the time.
    timeout 900 "$qemu" -M virt -cpu cortex-a72 -smp 2 -m 2048 -nographic -no-reboot -net none \
        -kernel "$image" -initrd "$work/initramfs" \
        -append 'console=ttyAMA0 rdinit=/init panic=-1 quiet' >"$console" 2>&1 </dev/null || true
    rm -rf "${work:?}/$suite"
    told=$(tr -d '\r' <"$console" | sed -n 's/^guest: //p')
    found=$(sed -n 's/^\(case [a-z]* [a-z0-9-]*\) .*/\1/p' <<<"$told" | sort)
    kernel=$(sed -n 's/^up //p' <<<"$told")
    if [ "$found" = "$wanted" ] && ! grep -q '^lost ' <<<"$told"; then
        say "$suite: ${kernel}: four of four right, verifier at most $(sed -n 's/^load //p' <<<"$told") instructions"
    else
        status=1
        say "$suite: ${kernel:-did not come up}: NOT RIGHT; the end of its console:"
        tail -n 25 "$console" | tr -d '\r' | sed 's/^/    | /'
    fi
done
exit "$status"
