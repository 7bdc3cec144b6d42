#!/usr/bin/env bash
# build_images.sh [SERVICE...]: build the image of each service, or of those that are named.
set -euo pipefail
cd "$(dirname "$0")/.."
services=("$@")
if [ ${#services[@]} -eq 0 ]; then
    services=(labels inference embedding suggestion training loop)
fi
for service in "${services[@]}"; do
    docker build ${BASE:+--build-arg BASE="$BASE"} \
        -f "services/$service/Dockerfile" -t "parfocal-$service" .
done
