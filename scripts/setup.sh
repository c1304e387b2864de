#!/usr/bin/env bash
# Builds the environment: uv, .venv from uv.lock with all extras, Java 17, git, and PostgreSQL for its tests.
# It may be run again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
refuse() { say "$*"; exit 2; }

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi

may_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }

# Installs system packages if we have the right to; otherwise prints which packages to install.
system_packages() {
    local why=$1; shift
    may_install || refuse "$why; install it (Debian: sudo apt-get install $*) and run \`make setup\` again"
    say "$why; installing $* with apt (about 30 s, log in .tools/apt.log)"
    mkdir -p .tools
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "$@"; } >.tools/apt.log 2>&1 || {
        tail -5 .tools/apt.log >&2
        refuse "apt could not install $*; install it yourself and run \`make setup\` again"
    }
}

java_version() { # prints the major version of the Java that Spark will use, 0 if there is none
    local java=java
    if [ -n "${JAVA_HOME:-}" ]; then java=$JAVA_HOME/bin/java; fi
    { "$java" -version 2>&1 || true; } | sed -n 's/.*version "\([0-9]*\).*/\1/p;' | head -1 | grep . || echo 0
}

# Only tests need PostgreSQL, so a machine without it is no error.
get_postgres() {
    if command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then return; fi
    if ! may_install; then
        say "PostgreSQL was not found; its tests will be skipped (Debian: sudo apt-get install postgresql)"
        return
    fi
    if [ ! -e /etc/postgresql-common ]; then # Debian's package would start a server of its own
        "${as_root[@]}" mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" |
            "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    system_packages "PostgreSQL is needed by tests and was not found" postgresql
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

find_uv() { # prints the path of uv: on the PATH, else under .tools
    command -v uv || { [ -x .tools/uv/bin/uv ] && echo "$PWD/.tools/uv/bin/uv"; }
}

get_uv() {
    say "installing uv, which builds .venv"
    "$python" -c 'import ensurepip' 2>/dev/null ||
        system_packages "this Python cannot create an environment, because ensurepip is missing" python3-venv
    rm -rf .tools/uv
    "$python" -m venv .tools/uv
    .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --retries 10 'uv>=0.9,<1' ||
        refuse "pip could not install uv; see its output above, then run \`make setup\` again"
}

get_environment() {
    local attempt choice=()
    # --python is given only for a new .venv. With another Python, uv would delete the present .venv and break
    # the processes that use it.
    if [ ! -x .venv/bin/python ]; then choice=(--python "$python"); fi
    say "building .venv from uv.lock (about 300 packages, 7 GB on disk, 1 to 10 minutes)"
    for attempt in 1 2 3; do
        if "$uv" sync --frozen --all-extras "${choice[@]}"; then return; fi
        say "attempt $attempt of 3 failed; finished downloads are kept"
        sleep $((attempt * 5))
    done
    refuse "uv could not build .venv; see its output above, then run \`make setup\` again"
}

python=$(find_python) || refuse "Python 3.11 is needed and was not found; install it (Debian 12: sudo apt-get install python3 python3-venv) and run \`make setup\` again"
command -v git >/dev/null || system_packages "git is needed for the record repository" git
if [ "$(java_version)" -lt 17 ]; then
    system_packages "Java 17 is needed by Spark and was not found" openjdk-17-jre-headless
    [ "$(java_version)" -ge 17 ] || refuse "java is still older than 17; set JAVA_HOME to a Java 17"
fi

get_postgres

# The stamp records the lock file and the folder for which .venv was built.
stamp=.venv/built-for
expected=$(cat uv.lock pyproject.toml | sha256sum | cut -d' ' -f1)" $PWD"
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$expected" ]; then exit 0; fi

export UV_HTTP_TIMEOUT=300 UV_CONCURRENT_DOWNLOADS=8 UV_HTTP_RETRIES=8 UV_PYTHON_DOWNLOADS=never
uv=$(find_uv) || { get_uv; uv=$(find_uv); }
get_environment
.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true # makes the first start faster
echo "$expected" >"$stamp"
say "ready: .venv ($(.venv/bin/python --version)), Java $(java_version)"
