"""Rounds: turns of the loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from parfocal._boxes import model_to_pb
from parfocal._connection import Connection
from parfocal._names import child_name, last_part, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal._strategies import strategy_to_pb
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.loop.v1 import loop_service_pb2 as messages
from parfocal.loop.v1.loop_service_pb2_grpc import LoopServiceStub
from parfocal.loop.v1.round_pb2 import (
    EncoderChoice,
    ImageSource,
    Lift,
    Round,
    RoundSpec,
    RoundTraining,
    StoppingAdvice,
)
from parfocal.suggestion.v1.constraints_pb2 import Constraints
from parfocal.suggestion.v1.strategy_pb2 import Strategy


def round_spec(
    *,
    images: Iterable[str],
    base_model: str | ModelVersion,
    budget: int,
    encoders: Mapping[str, str | ModelVersion] | None = None,
    strategy: str | Strategy = "two-stream",
    random_share: float = 0.2,
    random_measure: str = "",
    seed: int = 0,
    history: Iterable[str] = (),
    minimum_gain: float | None = None,
    train: bool = False,
    training: RoundTraining | None = None,
    constraints: Constraints | None = None,
    augmentation: int = 1,
) -> RoundSpec:
    """Return what a round is to do, ready for `Rounds.create`.

    Args:
        images: Paths of image arrays in the object store, as an import gives them.
        base_model: The model that predicts: `name` (its latest version) or `name/version`.
        budget: Queries to put to people.
        encoders: By stream, `image` and `mask`: the encoder.
        strategy: How queries are chosen: `random`, `core-set`, `entropy`, `late-fusion`,
            `two-stream`, or a message with parameters.
        random_share: Share of the queries that is drawn at random, to estimate accuracy on.
        random_measure: Column of the candidate table, such as `area` or `mean_probability`: half
            of the chance to be in the random share follows it, and estimates count accordingly.
            Empty gives all candidates the same chance.
        seed: Seed of everything random in the round.
        history: Earlier rounds whose labels are known.
        minimum_gain: Gain in accuracy for which another round is worth its labels; None means
            the service's default, .01. See `Rounds.advice`.
        train: Whether to fine-tune the base model when the labels are there.
        training: How; implies `train`.
        constraints: What may be put to people together, as `parfocal.constraints` makes it.
        augmentation: Flipped and transposed views whose mean the map of the base model is: 1, 4,
            8 or 16. As many times as slow, it finds more and tells right from wrong better.

    Example:
        >>> image = "projects/vnc/images/stack1.ome.zarr/0"  # doctest: +SKIP
        >>> spec = round_spec(images=[image], base_model="mito", budget=40)  # doctest: +SKIP
    """
    spec = RoundSpec(
        images=[ImageSource(image=image) for image in images],
        base_model=model_to_pb(base_model),
        encoders=[
            EncoderChoice(stream=stream, encoder=model_to_pb(encoder))
            for stream, encoder in sorted((encoders or {}).items())
        ],
        strategy=strategy_to_pb(strategy),
        budget=budget,
        random_share=random_share,
        seed=seed,
        history=map(last_part, history),
        constraints=constraints,
    )
    if augmentation != 1:
        spec.proposal.augmentation = augmentation
    if random_measure:
        spec.random_weights.measure = random_measure
    if minimum_gain is not None:
        spec.stopping.minimum_gain = minimum_gain
    if train or training is not None:
        spec.training.CopyFrom(training or RoundTraining())
    return spec


class Rounds:
    """Rounds: what is wanted, and what exists of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = LoopServiceStub(connection.channel)

    def create(self, project: str, round: str, spec: RoundSpec) -> Round:
        """Create a round, which begins at once; the same one again is returned as it is.

        Raises:
            ConflictError: If a round of that name is to do something else.

        Example:
            >>> client.rounds.create("vnc", "round-1", spec)  # doctest: +SKIP
        """
        request = messages.CreateRoundRequest(
            parent=project_name(project), round_id=last_part(round), round=Round(spec=spec)
        )
        return self._connection.call(self._stub.CreateRound, request)

    def get(self, project: str, round: str) -> Round:
        """Return a round as it is now.

        Raises:
            NotFoundError: If there is none of that name.

        Example:
            >>> client.rounds.get("vnc", "round-1").status.accuracy.accuracy  # doctest: +SKIP
            0.83
        """
        request = messages.GetRoundRequest(name=child_name(project, "rounds", round))
        return self._connection.call(self._stub.GetRound, request)

    def lift(self, project: str, round: str) -> Lift:
        """Return what the strategy's picks found beside what random ones found.

        While people work it is computed from the labels so far. What is undefined is NaN with
        the reason beside it.

        Raises:
            NotFoundError: If there is no such round.

        Example:
            >>> lift = client.rounds.lift("vnc", "round-1")  # doctest: +SKIP
            >>> lift.ratio.value, lift.ratio.lower, lift.ratio.upper  # doctest: +SKIP
            (2.4, 1.3, 5.8)
        """
        return self.get(project, round).status.lift

    def advice(self, project: str, round: str) -> StoppingAdvice:
        """Return whether another round is worth its labels, with the numbers it rests on.

        Raises:
            NotFoundError: If there is no such round.

        Example:
            >>> client.rounds.advice("vnc", "round-2").text  # doctest: +SKIP
            'Too early to say: it takes 3 models measured on random shares; so far: 2.'
        """
        return self.get(project, round).status.stopping_advice

    def list(self, project: str) -> Iterator[Round]:
        """Yield the rounds of a project, newest first.

        Example:
            >>> [each.name for each in client.rounds.list("vnc")]  # doctest: +SKIP
            ['projects/vnc/rounds/round-1']
        """

        def fetch(token: str) -> tuple[Iterable[Round], str]:
            request = messages.ListRoundsRequest(
                parent=project_name(project), page_size=PAGE_SIZE, page_token=token
            )
            page = self._connection.call(self._stub.ListRounds, request)
            return page.rounds, page.next_page_token

        return every_item(fetch)

    def cancel(self, project: str, round: str) -> Round:
        """Stop a round; labels that were given stay.

        Raises:
            ConflictError: If it is over.

        Example:
            >>> client.rounds.cancel("vnc", "round-1")  # doctest: +SKIP
        """
        request = messages.CancelRoundRequest(name=child_name(project, "rounds", round))
        return self._connection.call(self._stub.CancelRound, request)

    def retry(self, project: str, round: str) -> Round:
        """Begin a round again that failed, at the step that failed; what was made is kept.

        Raises:
            ConflictError: If it is under way, succeeded, or was stopped.

        Example:
            >>> client.rounds.retry("vnc", "round-1")  # doctest: +SKIP
        """
        request = messages.RetryRoundRequest(name=child_name(project, "rounds", round))
        return self._connection.call(self._stub.RetryRound, request)

    def watch(
        self, project: str, round: str, *, timeout_seconds: float | None = None
    ) -> Iterator[Round]:
        """Yield a round whenever it changes, beginning with how it is now, until it is over.

        Example:
            >>> for state in client.rounds.watch("vnc", "round-1"):  # doctest: +SKIP
            ...     print(state.status.stage, state.status.decided)
        """
        request = messages.WatchRoundRequest(name=child_name(project, "rounds", round))
        stream = self._connection.stream(
            self._stub.WatchRound, lambda: request, timeout_seconds=timeout_seconds
        )
        for response in stream:
            yield response.round
