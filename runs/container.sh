#!/usr/bin/env bash
# Run the image as docs/deploy.md says, until its health check passes, and stop it.
#     runs/container.sh [IMAGE]
set -euo pipefail
UNMASK_TOKEN=$(python3 -c 'import secrets; print(secrets.token_urlsafe())')
export UNMASK_TOKEN
name=$(docker run --detach --env UNMASK_TOKEN --volume unmask:/data --publish 127.0.0.1:8000:8000 \
  --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges --memory 10g \
  --health-interval 2s "${1:-unmask}")
trap 'docker logs "$name"; docker rm --force "$name" >/dev/null' EXIT
for _ in $(seq 60); do
  status=$(docker inspect --format '{{.State.Health.Status}}' "$name")
  if [ "$status" = healthy ]; then
    echo "healthy"
    exit 0
  fi
  sleep 2
done
echo "not healthy: $status" >&2
exit 1
