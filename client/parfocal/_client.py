"""The client: one connection, one facet for each kind of thing."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from parfocal._annotators import Annotators
from parfocal._connection import Connection, endpoint
from parfocal._embeddings import Embeddings
from parfocal._jobs import Jobs
from parfocal._labels import Labels
from parfocal._projects import Projects
from parfocal._rounds import Rounds
from parfocal._segmentation import Candidates, Segmentation
from parfocal._suggestions import Suggestions
from parfocal._training import Training


class Client:
    """A connection to Parfocal's services; safe to use from many threads.

    Without arguments it finds the server and the token by itself: `PARFOCAL_SERVER` and
    `PARFOCAL_TOKEN`, or the `parfocal up` of this user. Answers are the messages of
    `parfocal.<service>.v1`, or numpy arrays; failures are `ParfocalError`.

    Args:
        address: Host and port; with `https://` before it, over TLS.
        token: Bearer token.
        data_dir: Data folder of a `parfocal up`, instead of `PARFOCAL_DATA_DIR` or `~/.parfocal`.
        ca_file: PEM authorities of the server's certificate; means TLS.
        certificate_file: PEM chain that is shown to the server, where it asks for one; means TLS.
        key_file: PEM key of that certificate.
        timeout_seconds: How long a call may take, where its method does not say otherwise.
        retry_seconds: How long a call that finds no server is tried again.

    Attributes:
        projects: Projects.
        labels: Queries and labels.
        annotators: What people may judge, and how well they do.
        rounds: Turns of the loop.
        jobs: Long steps outside a round.
        training: Training runs.
        segmentation: Probability maps.
        candidates: Candidate sets.
        embeddings: Vectors of candidates and patches.
        suggestions: What to look at next.

    Example:
        >>> from parfocal import Client  # doctest: +SKIP
        >>> with Client() as client:  # doctest: +SKIP
        ...     client.projects.create("vnc")
        ...     for leased in client.labels.lease("vnc"):
        ...         client.labels.submit("vnc", {leased.query.name: True})
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        ca_file: str | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
        timeout_seconds: float = 60.0,
        retry_seconds: float = 10.0,
    ) -> None:
        self._connection = Connection(
            endpoint(
                address,
                token=token,
                data_dir=data_dir,
                ca_file=ca_file,
                certificate_file=certificate_file,
                key_file=key_file,
            ),
            timeout_seconds=timeout_seconds,
            retry_seconds=retry_seconds,
        )
        self.projects = Projects(self._connection)
        self.labels = Labels(self._connection)
        self.annotators = Annotators(self._connection)
        self.rounds = Rounds(self._connection)
        self.jobs = Jobs(self._connection)
        self.training = Training(self._connection)
        self.segmentation = Segmentation(self._connection)
        self.candidates = Candidates(self._connection)
        self.embeddings = Embeddings(self._connection)
        self.suggestions = Suggestions(self._connection)

    @property
    def address(self) -> str:
        """The server's host and port."""
        return self._connection.endpoint.address

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
