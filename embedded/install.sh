#!/bin/sh
# What this machine still lacks: Debian's packages (as root or with sudo) and the Python packages of the hashed lock.
#
#   embedded/install.sh run    what `make up` needs
#   embedded/install.sh dev    and what tests and checks need
#   embedded/install.sh bench  and what measurements need
#
# Run again it changes nothing. Services that the packages bring along are neither started nor left enabled.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-run}

say() { printf '%s\n' "$*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else say "This needs root once: $*" >&2; exit 1
    fi
}

is_dev() { [ "$kind" = dev ] || [ "$kind" = bench ]; }

missing() {
    command -v cc >/dev/null 2>&1 || say gcc libc6-dev
    find_header mosquitto_plugin.h || say mosquitto-dev
    find_header cjson/cJSON.h || say libcjson-dev
    find_header curl/curl.h || say libcurl4-openssl-dev
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto >/dev/null 2>&1 || say mosquitto
    ! is_dev || command -v curl >/dev/null 2>&1 || say curl
    [ "$kind" != bench ] || PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v haproxy >/dev/null 2>&1 || say haproxy
    has_postgres || say postgresql
    good_python "$(python_program)" || say python3 python3-venv
}

find_header() {
    for place in /usr/include /usr/local/include /usr/include/*-linux-gnu*; do
        [ -e "$place/$1" ] && return 0
    done
    return 1
}

has_postgres() {
    command -v initdb >/dev/null 2>&1 && return 0
    for program in /usr/lib/postgresql/*/bin/initdb; do [ -x "$program" ] && return 0; done
    # Tests can do with the server of a wheel.
    is_dev && [ "$(uname -sm)" = "Linux x86_64" ] && [ "${NO_DEBIAN_POSTGRES:-}" = 1 ]
}

python_program() {
    for program in python3 /usr/bin/python3; do
        if good_python "$program"; then say "$program"; return; fi
    done
    say /usr/bin/python3
}

good_python() {
    "$1" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Also after an interruption: left there, it would keep every package's service from starting for good.
guard_mark="# mosquitto-provisioning: no service starts while its packages are installed"
unguard() {
    as_root rm -f /etc/postgresql-common/createcluster.d/provisioning.conf
    if [ -n "$guard" ]; then as_root rm -f "$guard"; fi
}

install_debian() {
    command -v apt-get >/dev/null 2>&1 || { say "Install these first: $*" >&2; exit 1; }
    say "Installing Debian's $* ..."
    # Packages must not start their services here, nor make a cluster that nobody asked for.
    guard=/usr/sbin/policy-rc.d
    if [ -e "$guard" ] && ! grep -qs "$guard_mark" "$guard"; then guard=""; fi
    trap unguard EXIT
    trap 'exit 1' HUP INT TERM
    if [ -n "$guard" ]; then
        printf '#!/bin/sh\n%s\nexit 101\n' "$guard_mark" | as_root tee "$guard" >/dev/null
        as_root chmod 755 "$guard"
    fi
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' | as_root tee /etc/postgresql-common/createcluster.d/provisioning.conf >/dev/null
    status=0
    as_root apt-get update -qq || status=$?
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || status=$?
    unguard
    trap - EXIT HUP INT TERM
    [ "$status" -eq 0 ] || { say "The packages could not be installed." >&2; exit 1; }
    for service in mosquitto postgresql haproxy; do
        case " $* " in *" $service "*)
            if command -v systemctl >/dev/null 2>&1; then as_root systemctl disable --quiet "$service" >/dev/null 2>&1 || true; fi
        esac
    done
}

install_python() {
    lock=requirements.txt
    if is_dev; then lock=requirements-dev.txt; fi
    stamp=$(sha256sum "$lock" | cut -c1-64)
    if [ -x .venv/bin/python ] && grep -qs "$stamp" .venv/installed; then return; fi
    [ -x .venv/bin/python ] || "$(python_program)" -m venv .venv
    say "Installing the Python packages of $lock ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    say "$lock $stamp" >> .venv/installed
}

needed=$(missing | tr '\n' ' ')
# shellcheck disable=SC2086
[ -z "$needed" ] || install_debian $needed
install_python
