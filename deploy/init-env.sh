#!/usr/bin/env bash
# Writes deploy/.env with generated passwords, for compose.yaml. An existing file is kept.
set -euo pipefail
cd "$(dirname "$0")"

random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

umask 077
if [ -e .env ]; then
    echo "init-env: deploy/.env exists and is kept" >&2
    exit 0
fi
cat >.env <<END
POSTGRES_PASSWORD=$(random 16)
S3_ACCESS_KEY=$(random 10)
S3_SECRET_KEY=$(random 20)
SPARK_SECRET=$(random 32)
MLFLOW_PASSWORD=$(random 12)
PSEUDONYM_KEY=$(random 32)
END
echo "init-env: wrote deploy/.env" >&2
