"""All services over one data folder; the only place that names them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parfocal_embedding.app import build as build_embedding
from parfocal_embedding.config import PREFIX as EMBEDDING
from parfocal_embedding.config import EmbeddingConfig
from parfocal_inference.app import build as build_inference
from parfocal_inference.config import PREFIX as INFERENCE
from parfocal_inference.config import InferenceConfig
from parfocal_labels.app import build as build_labels
from parfocal_labels.config import PREFIX as LABELS
from parfocal_labels.config import LabelsConfig
from parfocal_loop.app import build as build_loop
from parfocal_loop.config import PREFIX as LOOP
from parfocal_loop.config import LoopConfig
from parfocal_runtime.config import COMMON_PREFIX, ServerConfig, from_env
from parfocal_runtime.server import Service
from parfocal_standalone.data_folder import DataFolder
from parfocal_suggestion.app import build as build_suggestion
from parfocal_suggestion.config import PREFIX as SUGGESTION
from parfocal_suggestion.config import SuggestionConfig
from parfocal_training.app import build as build_training
from parfocal_training.config import PREFIX as TRAINING
from parfocal_training.config import TrainingConfig

HOST = "127.0.0.1"

_PEERS = ("LABELS", "INFERENCE", "EMBEDDING", "SUGGESTION", "TRAINING")


@dataclass(frozen=True)
class Composition:
    """What a server needs to serve everything.

    Attributes:
        services: The services, in the order in which they start.
        config: How to serve them.
    """

    services: tuple[Service, ...]
    config: ServerConfig


def compose(data: DataFolder, *, port: int, settings: Mapping[str, str]) -> Composition:
    """Build every service over a data folder.

    Args:
        data: The folder, with its tokens written.
        port: The port that the server will listen on, by which the loop calls the others.
        settings: Variables `PARFOCAL_...`. Databases and the object store may be elsewhere; who may
            call and where the server listens is not for them to say.

    Raises:
        ConfigError: If a variable has a value that cannot be used.
    """
    variables = {**_defaults(data), **settings, **_fixed(data, port)}
    return Composition(
        services=(
            build_labels(from_env(LabelsConfig, variables, LABELS)),
            build_inference(from_env(InferenceConfig, variables, INFERENCE)),
            build_embedding(from_env(EmbeddingConfig, variables, EMBEDDING)),
            build_suggestion(from_env(SuggestionConfig, variables, SUGGESTION)),
            build_training(from_env(TrainingConfig, variables, TRAINING)),
            build_loop(from_env(LoopConfig, variables, LOOP)),
        ),
        config=from_env(ServerConfig, variables, COMMON_PREFIX),
    )


def _defaults(data: DataFolder) -> dict[str, str]:
    return {
        "PARFOCAL_STORE_URI": data.store_uri,
        "PARFOCAL_LABELS_DATABASE": data.database("labels"),
        "PARFOCAL_LOOP_DATABASE": data.database("loop"),
        "PARFOCAL_GRACE_SECONDS": "10",
    }


def _fixed(data: DataFolder, port: int) -> dict[str, str]:
    return {
        "PARFOCAL_HOST": HOST,
        "PARFOCAL_PORT": str(port),
        "PARFOCAL_TOKENS_FILE": str(data.tokens_file),
        "PARFOCAL_ANONYMOUS_ROLE": "",
        "PARFOCAL_TLS_CERTIFICATE_FILE": "",
        "PARFOCAL_TLS_KEY_FILE": "",
        "PARFOCAL_TLS_CLIENT_CA_FILE": "",
        "PARFOCAL_OIDC_ISSUER": "",
        "PARFOCAL_LOOP_TOKEN_FILE": str(data.loop_token_file),
        "PARFOCAL_LOOP_PEER_TLS": "false",
        "PARFOCAL_LOOP_PEER_CA_FILE": "",
        "PARFOCAL_LOOP_PEER_CERTIFICATE_FILE": "",
        **{f"PARFOCAL_LOOP_{peer}": f"{HOST}:{port}" for peer in _PEERS},
    }
