"""The first steps of a round: from images to a choice of queries."""

from __future__ import annotations

from functools import partial

from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.labels.v1 import label_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import suggestion_service_pb2 as suggestion
from parfocal_loop.actions import (
    BLOCK,
    block_requests,
    blocks,
    candidate_count,
    candidate_set_name,
    embed,
    image_box,
    image_edition,
    newest,
    placed_candidates,
    segment,
)
from parfocal_loop.consensus import decided
from parfocal_loop.history import seen_before
from parfocal_loop.messages import box_from_pb, index_from_pb
from parfocal_loop.naming import derived, prediction_array
from parfocal_loop.strategies import with_inner
from parfocal_loop.turn import Turn
from parfocal_runtime.layout import candidate_folder, embedding_array

_STREAMS = {
    "image": embedding.PATCH_STREAM_IMAGE,
    "mask": embedding.PATCH_STREAM_MASK,
}


async def fix_versions(turn: Turn) -> None:
    """Fill in the versions that the round works with; later ones do not change it."""
    if not turn.status.HasField("base_model"):
        model = await newest(turn.means, turn.spec.base_model)
        turn.status.base_model.CopyFrom(model)
    if not turn.status.encoders:
        for choice in turn.spec.encoders:
            encoder = await newest(turn.means, choice.encoder)
            turn.status.encoders.add(stream=choice.stream, encoder=encoder)


async def prediction_of(turn: Turn, image: str) -> str:
    """Return the path of the probability map of an image in this round.

    An image that took the place of another has maps of its own.
    """
    model, edition = turn.status.base_model, await image_edition(turn.means, image)
    return prediction_array(
        turn.project,
        image,
        model.name,
        model.version,
        edition=edition,
        views=turn.spec.proposal.augmentation,
    )


async def segment_images(turn: Turn) -> str:
    """Predict every image of the round."""
    if turn.spec.candidates:
        return ""
    proposal = turn.spec.proposal
    shape = index_from_pb(proposal.block_shape) if proposal.HasField("block_shape") else BLOCK
    like = inference.SegmentBlockRequest(
        overlap=proposal.overlap if proposal.HasField("overlap") else None,
        augmentation=proposal.augmentation,
    )
    requests: list[inference.SegmentBlockRequest] = []
    for source in turn.spec.images:
        whole = await image_box(turn.means, source.image)
        region = box_from_pb(source.region) if source.HasField("region") else None
        prediction = await prediction_of(turn, source.image)
        boxes = blocks(whole, region, shape)
        requests += block_requests(source.image, prediction, turn.status.base_model, boxes, like)
    await segment(turn.means, requests, partial(turn.report, rounds.ROUND_STAGE_SEGMENT))
    return await prediction_of(turn, turn.spec.images[0].image)


async def propose_candidates(turn: Turn) -> str:
    """Make, or take, the candidate set."""
    if turn.spec.candidates:
        turn.status.candidates = turn.spec.candidates
        turn.status.candidate_count = await candidate_count(turn.means, turn.spec.candidates)
        return turn.status.candidates
    request = await _proposal_request(turn)
    content = request.SerializeToString(deterministic=True)
    model = turn.status.base_model
    name = derived(f"{model.name}-{model.version}", content)
    request.candidates = candidate_folder(turn.project, name)
    response = await turn.means.peers.inference.ProposeCandidates(request)
    turn.status.candidates = response.candidates
    turn.status.candidate_count = response.count
    return response.candidates


async def _proposal_request(turn: Turn) -> inference.ProposeCandidatesRequest:
    proposal = turn.spec.proposal
    request = inference.ProposeCandidatesRequest(
        threshold=proposal.threshold,
        connectivity=proposal.connectivity,
        minimum_voxels=proposal.minimum_voxels,
        patch_side=proposal.patch_side,
    )
    for source in turn.spec.images:
        sent = request.sources.add(
            image=source.image,
            prediction=await prediction_of(turn, source.image),
            exclude=source.exclude,
        )
        if source.HasField("region"):
            sent.region.CopyFrom(source.region)
    return request


async def embed_candidates(turn: Turn) -> str:
    """Embed the set with every encoder of the round."""
    if turn.status.candidate_count == 0:
        return ""
    name = candidate_set_name(turn.project, turn.status.candidates)
    for choice in turn.status.encoders:
        encoder = choice.encoder
        path = embedding_array(turn.project, name, encoder.name, encoder.version)
        request = embedding.EmbedCandidatesRequest(
            candidates=turn.status.candidates,
            embeddings=path,
            stream=_STREAMS[choice.stream],
            encoder=encoder,
        )
        await embed(turn.means, request, partial(turn.report, rounds.ROUND_STAGE_EMBED))
        turn.status.embeddings[choice.stream] = path
    return ", ".join(turn.status.embeddings.values())


async def suggest(turn: Turn) -> str:
    """Let the strategy choose."""
    if turn.status.candidate_count == 0:
        turn.note("no candidate was proposed, so nothing was asked")
        return ""
    spec = turn.spec
    labelled, excluded = await _known(turn)
    request = suggestion.SuggestRequest(
        parent=turn.parent,
        selection_id=turn.round,
        candidates=turn.status.candidates,
        features=[
            suggestion.FeatureStream(
                name=choice.stream,
                array=turn.status.embeddings[choice.stream],
                encoder=choice.encoder,
            )
            for choice in turn.status.encoders
        ],
        measures=_measures(spec),
        labelled=labelled,
        excluded=excluded,
        strategy=spec.strategy,
        budget=spec.budget,
        seed=spec.seed,
        random_share=spec.random_share,
        random_weights=spec.random_weights if spec.HasField("random_weights") else None,
        base_model=turn.status.base_model,
        constraints=spec.constraints if spec.HasField("constraints") else None,
    )
    selection = await turn.means.peers.suggestion.Suggest(request)
    for note in selection.notes:
        turn.note(note)
    turn.status.selection = selection.name
    turn.status.queries = len(selection.picks)
    turn.status.pool = selection.pool
    return selection.path


def _measures(spec: rounds.RoundSpec) -> list[suggestion.Measure]:
    """Return the columns that a strategy, those inside it, and the random share go by."""
    found = [getattr(parameters, "measure", "") for _, parameters in with_inner(spec.strategy)]
    names = dict.fromkeys([*found, spec.random_weights.measure])
    return [suggestion.Measure(name=name) for name in names if name]


async def _known(turn: Turn) -> tuple[list[suggestion.LabelledCandidate], list[int]]:
    """Return the candidates of the set that are labelled, and those judged under other numbers."""
    here = candidate_set_name(turn.project, turn.status.candidates)
    labelled: list[suggestion.LabelledCandidate] = []
    undecided: list[int] = []
    elsewhere: dict[str, list[int]] = {}
    for name in turn.spec.history:
        async for consensus in decided(turn.means.peers, turn.parent, name):
            if consensus.candidate_set != here:
                elsewhere.setdefault(consensus.candidate_set, []).append(consensus.candidate)
            elif consensus.verdict in (label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE):
                verdict = consensus.verdict == label_pb2.VERDICT_TRUE
                labelled.append(
                    suggestion.LabelledCandidate(candidate=consensus.candidate, verdict=verdict)
                )
            else:
                undecided.append(consensus.candidate)
    seen = await _judged_elsewhere(turn, elsewhere)
    own = {label.candidate for label in labelled}
    return labelled, sorted({*undecided, *seen} - own)


async def _judged_elsewhere(turn: Turn, judged: dict[str, list[int]]) -> list[int]:
    if not judged:
        return []
    pool = await placed_candidates(turn.means, turn.status.candidates)
    seen: set[int] = set()
    for name, ids in judged.items():
        before = await placed_candidates(turn.means, candidate_folder(turn.project, name))
        seen.update(seen_before(pool, before.of(ids)).tolist())
    return sorted(seen)
