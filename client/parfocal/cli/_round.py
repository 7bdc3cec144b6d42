"""`parfocal round`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from parfocal._boxes import model_to_pb
from parfocal._errors import ConflictError, InvalidRequestError
from parfocal._names import last_part
from parfocal._rounds import round_spec
from parfocal._strategies import STRATEGIES, strategy_to_pb
from parfocal.cli._constraints import (
    ApartOption,
    MaskOption,
    MinutesOption,
    PerGroupOption,
    PerImageOption,
    QuotaOption,
    SecondsOption,
    constraints_of,
)
from parfocal.cli._existing import of_project
from parfocal.cli._lift import accuracy, lift_cell, measure_lines
from parfocal.cli._options import (
    LARGEST_INTEGER,
    LARGEST_SEED,
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
    own_part,
)
from parfocal.cli._output import as_dict, print_json, print_messages, print_table, progress_bars
from parfocal.common.v1.artifact_pb2 import WORK_STATE_FAILED, ModelVersion, WorkState
from parfocal.loop.v1.round_pb2 import Round, RoundStage

app = typer.Typer(help="Rounds: turns of the loop.")

RoundArgument = Annotated[
    str,
    typer.Argument(help="Name of the round.", metavar="ROUND", callback=own_part("rounds")),
]


@app.command()
def create(
    project: ProjectArgument,
    round_id: RoundArgument,
    image: Annotated[
        list[str],
        typer.Option("--image", help="Image of the project, or path of its array. Repeatable."),
    ],
    base_model: Annotated[
        str, typer.Option("--base-model", help="Model that predicts: NAME or NAME/VERSION.")
    ],
    budget: Annotated[
        int, typer.Option("--budget", min=1, max=LARGEST_INTEGER, help="Queries to put to people.")
    ],
    strategy: Annotated[
        str, typer.Option("--strategy", help=f"One of {', '.join(STRATEGIES)}.")
    ] = "two-stream",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, a parameter of the strategy. Repeatable."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", help="STREAM=NAME, for image and mask. Repeatable."),
    ] = None,
    random_share: Annotated[
        float,
        typer.Option("--random-share", min=0, max=1, help="Share drawn at random, to measure on."),
    ] = 0.2,
    random_measure: Annotated[
        str,
        typer.Option(
            "--random-measure",
            help="Column of the candidate table, such as area: the more, the likelier in the "
            "random share.",
        ),
    ] = "",
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of everything random.")
    ] = 0,
    history: Annotated[
        list[str] | None,
        typer.Option(
            "--history",
            help="Earlier round whose labels are known. Repeatable.",
            callback=own_part("rounds"),
        ),
    ] = None,
    minimum_gain: Annotated[
        float | None,
        typer.Option(
            "--minimum-gain",
            min=0,
            max=1,
            help="Gain in accuracy for which another round is worth its labels. Default 0.01.",
        ),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Fine-tune the base model when the labels are there.")
    ] = False,
    augmentation: Annotated[
        int,
        typer.Option(
            "--augmentation",
            min=1,
            max=16,
            help="Views of each window whose mean is taken: 1, 4, 8 or 16. Slower, better.",
        ),
    ] = 1,
    per_image: PerImageOption = 0,
    per_group: PerGroupOption = None,
    apart: ApartOption = 0.0,
    quota: QuotaOption = None,
    mask: MaskOption = None,
    minutes: MinutesOption = 0.0,
    seconds: SecondsOption = "",
    watch_it: Annotated[bool, typer.Option("--watch", help="Stay and show its progress.")] = False,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a round, which begins at once."""
    spec = round_spec(
        images=[_array(project, name) for name in image],
        base_model=_model(base_model, "--base-model"),
        budget=budget,
        encoders={
            stream: _model(name, "--encoder")
            for stream, name in _pairs(encoder or [], "--encoder", example="mask=mask-vae").items()
        },
        strategy=strategy_to_pb(strategy, _pairs(parameter or [], "--set", example="measure=area")),
        random_share=random_share,
        random_measure=random_measure,
        seed=seed,
        history=history or [],
        minimum_gain=minimum_gain,
        train=train,
        augmentation=augmentation,
        constraints=constraints_of(
            per_image=per_image,
            per_group=per_group,
            apart=apart,
            quota=quota,
            mask=mask,
            minutes=minutes,
            seconds=seconds,
        ),
    )
    with connect(server, data_dir) as client:
        created = client.rounds.create(project, round_id, spec)
    if watch_it:
        watch(project, round_id, server=server, data_dir=data_dir, as_json=as_json)
    else:
        _show(created, as_json=as_json)


@app.command("list")
def list_rounds(
    project: ProjectArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the rounds of a project, newest first."""
    with connect(server, data_dir) as client:
        print_messages(
            of_project(client, project, client.rounds.list(project)),
            as_json=as_json,
            columns={
                "round": lambda each: last_part(each.name),
                "state": _state,
                "stage": _stage,
                "candidates": lambda each: each.status.candidate_count,
                "decided": lambda each: f"{each.status.decided}/{each.status.queries}",
                "accuracy": lambda each: accuracy(each.status.accuracy),
                "lift": lambda each: lift_cell(each.status.lift),
            },
        )


@app.command()
def show(
    project: ProjectArgument,
    round_id: RoundArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a round: its steps, its lift over random, and whether to go on."""
    with connect(server, data_dir) as client:
        _show(client.rounds.get(project, round_id), as_json=as_json)


@app.command()
def watch(
    project: ProjectArgument,
    round_id: RoundArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a round until it is over; with --json one line a change."""
    last: Round | None = None
    with connect(server, data_dir) as client, progress_bars() as bars:
        tasks: dict[int, Any] = {}
        for last in client.rounds.watch(project, round_id):
            if as_json:
                print_json(as_dict(last))
            for step in last.status.steps:
                if step.stage not in tasks:
                    tasks[step.stage] = bars.add_task(_name(step.stage), total=1.0, note="")
                bars.update(tasks[step.stage], completed=step.fraction, note=step.message)
        if last is not None and not as_json:
            # What needs other rounds is not in what is watched.
            _show(client.rounds.get(project, round_id), as_json=False)
    if last is not None and last.status.state == WORK_STATE_FAILED:
        failure = last.status.failure
        raise ConflictError(
            f"the round failed: {failure.message}",
            reason=failure.reason,
            metadata=dict(failure.metadata),
        )


@app.command()
def cancel(
    project: ProjectArgument,
    round_id: RoundArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a round; labels that were given stay."""
    with connect(server, data_dir) as client:
        _show(client.rounds.cancel(project, round_id), as_json=as_json)


@app.command()
def retry(
    project: ProjectArgument,
    round_id: RoundArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a round again at the step that failed; what was made is kept."""
    with connect(server, data_dir) as client:
        _show(client.rounds.retry(project, round_id), as_json=as_json)


def _array(project: str, image: str) -> str:
    if "/" in image:
        return image
    return f"projects/{last_part(project)}/images/{image}.ome.zarr/0"


def _model(text: str, option: str) -> ModelVersion:
    try:
        return model_to_pb(text)
    except InvalidRequestError as error:
        raise typer.BadParameter(error.message, param_hint=option) from None


def _pairs(given: list[str], option: str, *, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in given:
        name, _, value = one.partition("=")
        if not (name and value):
            raise typer.BadParameter(
                f"expected NAME=VALUE such as {example}, got {one!r}", param_hint=option
            )
        if name in pairs:
            raise typer.BadParameter(f"{name!r} is named twice", param_hint=option)
        pairs[name] = value
    return pairs


def _show(each: Round, *, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(each))
        return
    status = each.status
    typer.echo(f"{each.name}: {_state(each)}")
    print_table(
        ["step", "state", "done", "", "artifact"],
        [
            [
                _name(step.stage),
                WorkState.Name(step.state).removeprefix("WORK_STATE_").lower(),
                f"{100 * step.fraction:.0f} %",
                step.message,
                step.artifact,
            ]
            for step in status.steps
        ],
    )
    for line in measure_lines(status):
        typer.echo(line)
    for note in status.notes:
        typer.echo(f"note: {note}")
    if status.failure.message:
        typer.echo(f"failed: {status.failure.message} [{status.failure.reason}]")
        _, project, _, own = each.name.split("/")
        typer.echo(f"once the cause is gone: parfocal round retry {project} {own}")


def _state(each: Round) -> str:
    return WorkState.Name(each.status.state).removeprefix("WORK_STATE_").lower()


def _stage(each: Round) -> str:
    return _name(each.status.stage) if each.status.stage else "-"


def _name(stage: int) -> str:
    return RoundStage.Name(stage).removeprefix("ROUND_STAGE_").lower()  # type: ignore[arg-type]
