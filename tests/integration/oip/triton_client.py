"""What a lab's tritonclient does, for an environment of its own; prints JSON.

Arguments: address of the server, bearer token.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-not-found]  # not in our environment

address, token = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"}
client = triton.InferenceServerClient(address)

image = np.random.default_rng(3).integers(0, 256, (2, 1, 4, 8, 8), dtype=np.uint8)
source = triton.InferInput("image", list(image.shape), "UINT8")
source.set_data_from_numpy(image)
wanted = triton.InferRequestedOutput("probability")
answer = client.infer("base", [source], outputs=[wanted], request_id="lab-1", headers=headers)
probability = answer.as_numpy("probability")

text = np.array([["mito", "vesicle"]], dtype=object)
words = triton.InferInput("x", list(text.shape), "BYTES")
words.set_data_from_numpy(text)
echoed = client.infer("id-bytes", [words], headers=headers).as_numpy("y")

try:
    client.infer("none", [source], headers=headers)
    unknown = ""
except triton.InferenceServerException as error:
    unknown = error.status()

json.dump(
    {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("base", headers=headers),
        "broken_ready": client.is_model_ready("broken", headers=headers),
        "server": client.get_server_metadata(headers=headers, as_json=True)["name"],
        "metadata": client.get_model_metadata("base", headers=headers, as_json=True),
        "id": answer.get_response().id,
        "shape": list(probability.shape),
        "largest_error": float(np.abs(probability - image / np.float32(255)).max()),
        "words": [word.decode() for word in echoed.ravel()],
        "unknown": unknown,
    },
    sys.stdout,
)
