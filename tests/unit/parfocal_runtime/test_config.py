from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from parfocal_runtime.config import ConfigError, ServerConfig, bounded, from_env, variable_names
from parfocal_runtime.store import S3Settings


@dataclass(frozen=True, kw_only=True)
class Limits:
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    threads: int = bounded(2, least=1, most=8)
    share: float = bounded(0.1, least=0, most=1)
    verbose: bool = False
    mode: Literal["fast", "safe"] = "safe"
    seed: int | None = None
    hosts: tuple[str, ...] = ()
    secret: int = field(default=0, repr=False)
    limits: Limits = field(default_factory=Limits)


def read(**variables: str) -> Example:
    prefixed = {f"PARFOCAL_X_{key}": value for key, value in variables.items()}
    return from_env(Example, {"PARFOCAL_X_NAME": "n", **prefixed}, "PARFOCAL_X")


def test_what_is_not_set_has_its_default() -> None:
    assert read() == Example(name="n")


def test_every_type_is_read() -> None:
    config = read(
        THREADS="4",
        SHARE="0.25",
        VERBOSE="Yes",
        MODE="fast",
        SEED="7",
        HOSTS="a, b,,c",
        LIMITS_DEPTH="3",
    )

    assert config == Example(
        name="n",
        threads=4,
        share=0.25,
        verbose=True,
        mode="fast",
        seed=7,
        hosts=("a", "b", "c"),
        limits=Limits(depth=3),
    )


def test_an_optional_value_can_be_emptied() -> None:
    assert read(SEED="").seed is None


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("THREADS", "two", "a whole number"),
        ("THREADS", "1.5", "a whole number"),
        ("THREADS", "0", "at least 1"),
        ("THREADS", "9", "at most 8"),
        ("SHARE", "nan", "at least 0"),
        ("SHARE", "much", "a number"),
        ("VERBOSE", "maybe", "true or false"),
        ("MODE", "slow", "one of 'fast', 'safe'"),
        ("LIMITS_DEPTH", "x", "a whole number"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{name: text})

    message = str(caught.value)
    assert message.startswith(f"PARFOCAL_X_{name} must be ")
    assert wanted in message
    assert repr(text) in message


def test_a_bad_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        read(SECRET="hunter2")

    assert "hunter2" not in str(caught.value)


def test_a_missing_value_without_default_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="PARFOCAL_X_NAME is not set"):
        from_env(Example, {}, "PARFOCAL_X")


def test_what_all_services_share_counts_where_the_own_is_not_set() -> None:
    shared = {"PARFOCAL_NAME": "shared", "PARFOCAL_LIMITS_DEPTH": "5", "PARFOCAL_THREADS": "3"}

    config = from_env(Example, {**shared, "PARFOCAL_X_THREADS": "4"}, "PARFOCAL_X")

    assert config == Example(name="shared", threads=4, limits=Limits(depth=5))


def test_the_port_variable_of_a_cluster_is_not_ours() -> None:
    config = from_env(ServerConfig, {"PARFOCAL_X_PORT": "tcp://10.0.0.1:50051"}, "PARFOCAL_X")

    assert config.port == 50051


def test_the_object_store_settings_are_shared() -> None:
    config = from_env(
        ServerConfig,
        {
            "PARFOCAL_STORE_URI": "s3://bucket",
            "PARFOCAL_S3_ENDPOINT": "127.0.0.1:9000",
            "PARFOCAL_S3_ACCESS_KEY": "a",
            "PARFOCAL_S3_SECRET_KEY": "hunter2",
            "PARFOCAL_S3_SECURE": "false",
            "PARFOCAL_LABELS_S3_REGION": "eu",
        },
        "PARFOCAL_LABELS",
    )

    assert config.store_uri == "s3://bucket"
    assert config.s3 == S3Settings(
        endpoint="127.0.0.1:9000",
        access_key="a",
        secret_key="hunter2",
        region="eu",
        secure=False,
    )
    assert "hunter2" not in repr(config)


def test_the_variables_of_a_configuration_can_be_listed() -> None:
    names = variable_names(ServerConfig, "PARFOCAL_LABELS")

    assert {"PARFOCAL_LABELS_PORT", "PARFOCAL_LABELS_S3_ENDPOINT"} <= set(names)
