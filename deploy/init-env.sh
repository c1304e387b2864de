#!/usr/bin/env bash
# Writes deploy/.env with generated passwords, for compose.yaml. Values that it has are kept, missing ones are added.
set -euo pipefail
cd "$(dirname "$0")"

random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
add() { grep -q "^$1=" .env || echo "$1=$(random "$2")" >>.env; } # a variable, and its number of random bytes

umask 077
touch .env
add POSTGRES_PASSWORD 16
add S3_ACCESS_KEY 10
add S3_SECRET_KEY 20
add SPARK_SECRET 32
add MLFLOW_PASSWORD 12
add PSEUDONYM_KEY 32
echo "init-env: deploy/.env has all passwords" >&2
