"""What a lab's tritonclient does, for an environment of its own; prints JSON.

Arguments: address of the server, bearer token of a viewer, bearer token of an admin.
"""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-not-found]  # not in our environment

address, token, admin_token = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"}
admin_headers = {"authorization": f"Bearer {admin_token}"}
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

scheduled = client.infer("base", [source], headers=headers, priority=2, timeout=30_000_000)


def number(value: int) -> triton.InferInput:
    """Return the input of `id-int64` with one row of `value`."""
    made = triton.InferInput("x", [1, 2], "INT64")
    made.set_data_from_numpy(np.full((1, 2), value, np.int64))
    return made


came: queue.Queue[int | str] = queue.Queue()
with triton.InferenceServerClient(address) as streaming:
    streaming.start_stream(
        callback=lambda result, error: came.put(
            str(error.message()) if error else int(result.as_numpy("y")[0, 0])
        ),
        headers=headers,
    )
    for value in range(20):
        name = "none" if value == 7 else "id-int64"
        streaming.async_stream_infer(name, [number(value)], request_id=str(value))
    streamed = [came.get(timeout=30) for _ in range(20)]
    streaming.stop_stream()


def state() -> str:
    """Return the state of the model that comes and goes."""
    index = client.get_model_repository_index(headers=headers, as_json=True)
    return next(str(each["state"]) for each in index["models"] if each["name"] == "visiting")


client.load_model("visiting", headers=admin_headers)
states = [state()]
client.unload_model("visiting", headers=admin_headers)
states.append(state())
is_ready_after_unload = client.is_model_ready("visiting", headers=headers)
client.load_model("visiting", headers=admin_headers)
states.append(state())

try:
    client.load_model("base", headers=headers)
    refusal = ""
except triton.InferenceServerException as error:
    refusal = error.status()

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
        "scheduled": list(scheduled.as_numpy("probability").shape),
        "streamed": streamed,
        "config": client.get_model_config("base", headers=headers, as_json=True)["config"],
        "statistics": client.get_inference_statistics("base", headers=headers, as_json=True),
        "states": states,
        "is_ready_after_unload": is_ready_after_unload,
        "refusal": refusal,
    },
    sys.stdout,
)
