"""What a service that runs models looks at before it starts."""

from __future__ import annotations

from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import WrongState
from parfocal_runtime.models.sessions import SessionOptions, check_providers


def usable(options: SessionOptions, *, variable: str) -> SessionOptions:
    """Return `options` if models can run so here.

    Args:
        options: How models are to run.
        variable: The setting that names their execution providers.

    Raises:
        ConfigError: If a provider cannot be used.
    """
    try:
        check_providers(options)
    except WrongState as error:
        raise ConfigError(f"{variable}: {error.message}") from error
    return options
