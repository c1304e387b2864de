#!/usr/bin/env bash
# Makes the environment: uv, .venv from uv.lock with every extra, Java 17, git. Safe to run again, quick when done.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
refuse() { say "$*"; exit 2; }

# Packages of the system, where we may install them; otherwise one line that says what to install.
system_packages() {
    local why=$1; shift
    local may=()
    if [ "$(id -u)" != 0 ]; then may=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
        refuse "$why; install it (Debian: sudo apt-get install $*) and run this again"
    fi
    say "$why; installing $* through apt (about half a minute; its words go to .tools/apt.log)"
    mkdir -p .tools
    local apt=("${may[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "$@"; } >.tools/apt.log 2>&1 || {
        tail -5 .tools/apt.log >&2
        refuse "apt could not install $*; install it by hand and run this again"
    }
}

java_version() { # the major version of the Java that Spark would take, 0 when there is none
    local java=java
    if [ -n "${JAVA_HOME:-}" ]; then java=$JAVA_HOME/bin/java; fi
    { "$java" -version 2>&1 || true; } | sed -n 's/.*version "\([0-9]*\).*/\1/p;' | head -1 | grep . || echo 0
}

find_python() {
    local candidate
    for candidate in python3.11 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

find_uv() { # on the PATH, or one of our own under .tools
    command -v uv || { [ -x .tools/uv/bin/uv ] && echo "$PWD/.tools/uv/bin/uv"; }
}

get_uv() {
    say "getting uv, which installs the rest"
    "$python" -c 'import ensurepip' 2>/dev/null ||
        system_packages "this Python cannot make an environment (no ensurepip)" python3-venv
    rm -rf .tools/uv
    "$python" -m venv .tools/uv
    .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --retries 10 'uv>=0.9,<1' ||
        refuse "uv could not be fetched; see pip's words above, and run this again"
}

get_environment() {
    local attempt choice=()
    # Only a new .venv is told its Python: told of another one, uv would delete the .venv that is there, and
    # whatever runs from it.
    if [ ! -x .venv/bin/python ]; then choice=(--python "$python"); fi
    say "building .venv from uv.lock (some 300 packages, 7 GB on disk; 1 to 10 minutes)"
    for attempt in 1 2 3; do
        if "$uv" sync --frozen --all-extras "${choice[@]}"; then return; fi
        say "attempt $attempt of 3 did not finish; what was fetched is kept"
        sleep $((attempt * 5))
    done
    refuse "the environment could not be built; see uv's words above, and run this again"
}

python=$(find_python) || refuse "Python 3.11 is needed and was not found; install it (Debian 12: sudo apt-get install python3 python3-venv)"
command -v git >/dev/null || system_packages "git is needed for the record of the nights" git
if [ "$(java_version)" -lt 17 ]; then
    system_packages "Java 17 is needed by Spark and was not found" openjdk-17-jre-headless
    [ "$(java_version)" -ge 17 ] || refuse "java is still older than 17; point JAVA_HOME at a Java 17"
fi

# The stamp says for which lock and which folder .venv was built.
stamp=.venv/built-for
want=$(cat uv.lock pyproject.toml | sha256sum | cut -d' ' -f1)" $PWD"
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then exit 0; fi

export UV_HTTP_TIMEOUT=300 UV_CONCURRENT_DOWNLOADS=8 UV_HTTP_RETRIES=8 UV_PYTHON_DOWNLOADS=never
uv=$(find_uv) || { get_uv; uv=$(find_uv); }
get_environment
.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true # so that no first start pays for it
echo "$want" >"$stamp"
say "ready: .venv ($(.venv/bin/python --version)), Java $(java_version)"
