#!/bin/sh
# slim_environment.sh ENVIRONMENT: takes out of an installed environment what no service ever loads.
set -eu
cd "$1"/lib/python3*/site-packages

# Tests that came inside packages; type stubs; sources to compile against.
find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' \) \
    -delete

# Arrow's RPC and its own way to S3: tables are read from bytes, which the object store brings.
rm -rf pyarrow/include pyarrow/src
rm -f pyarrow/libarrow_flight.* pyarrow/libarrow_python_flight.* pyarrow/_flight.* \
    pyarrow/libarrow_s3.* pyarrow/_s3fs.*
