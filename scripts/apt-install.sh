#!/bin/sh
# Installs Debian packages without starting what they contain: a proxy that comes with a package must
# not take port 80 of this machine, now or after the next boot. What was installed before keeps
# running.
#
#   scripts/apt-install.sh PACKAGE...
set -eu

if [ $# -eq 0 ]; then
    echo "usage: $0 PACKAGE..." >&2
    exit 2
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # Asked by the packages' scripts before they start a service; 101 forbids it.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
fi

new=
for package in "$@"; do
    # shellcheck disable=SC2016  # the format is dpkg's
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || new="$new $package"
done

DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"

if [ -d /run/systemd/system ]; then
    for package in $new; do
        case $package in
        nginx | haproxy | apache2 | prometheus) systemctl disable --quiet "$package" || true ;;
        esac
    done
fi
