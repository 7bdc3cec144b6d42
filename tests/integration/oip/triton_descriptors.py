"""Prints the descriptors of NVIDIA's stubs as JSON: a list of serialised files, in hexadecimal."""

import json
import sys

from tritonclient.grpc import (  # type: ignore[import-not-found]  # not in our environment
    model_config_pb2,
    service_pb2,
)

files = (model_config_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR)
json.dump([file.serialized_pb.hex() for file in files], sys.stdout)
