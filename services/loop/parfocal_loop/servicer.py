"""The loop service's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import loop_service_pb2 as service
from parfocal.loop.v1 import loop_service_pb2_grpc as service_grpc
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop import convert
from parfocal_loop.controller import Controller
from parfocal_loop.live_rounds import LiveRounds
from parfocal_loop.references import References
from parfocal_loop.turn import fresh_status
from parfocal_loop.works import Work, WorkKey, WorkStore
from parfocal_runtime.store import ObjectStore

Context = Any  # grpc.aio.ServicerContext of unknown message types


class LoopServicer(service_grpc.LoopServiceServicer):
    """Creates rounds and jobs, and tells what becomes of them."""

    def __init__(
        self,
        works: WorkStore,
        controller: Controller,
        store: ObjectStore,
        live: LiveRounds,
        references: References,
        *,
        poll_seconds: float,
    ) -> None:
        self._works = works
        self._live = live
        self._references = references
        self._controller = controller
        self._store = store
        self._poll_seconds = poll_seconds

    async def CreateRound(
        self, request: service.CreateRoundRequest, context: Context
    ) -> rounds.Round:
        """Create a round."""
        key = convert.round_key(request)
        spec = convert.round_spec_from_pb(request.round.spec, key.project, self._store)
        if not await self._works.exists(key):
            await self._references.require(key, spec)
        work = await self._create(key, spec, fresh_status())
        return convert.round_to_pb(work)

    async def GetRound(self, request: service.GetRoundRequest, context: Context) -> rounds.Round:
        """Get a round."""
        return await self._live.get(convert.key_from_name(request.name, "round"))

    async def ListRounds(
        self, request: service.ListRoundsRequest, context: Context
    ) -> service.ListRoundsResponse:
        """List rounds, newest first."""
        works, token = await self._page(request, "round")
        listed = [convert.round_to_pb(work) for work in works]
        return service.ListRoundsResponse(rounds=listed, next_page_token=token)

    async def CancelRound(
        self, request: service.CancelRoundRequest, context: Context
    ) -> rounds.Round:
        """Stop a round."""
        work = await self._works.request_cancel(convert.key_from_name(request.name, "round"))
        self._controller.wake()
        return convert.round_to_pb(work)

    async def RetryRound(
        self, request: service.RetryRoundRequest, context: Context
    ) -> rounds.Round:
        """Begin a round again that failed."""
        work = await self._works.get(convert.key_from_name(request.name, "round"))
        work = await self._reopen(work, convert.round_status_to_retry(work))
        return convert.round_to_pb(work)

    async def WatchRound(
        self, request: service.WatchRoundRequest, context: Context
    ) -> AsyncIterator[service.WatchRoundResponse]:
        """Stream a round until it is over."""
        async for work in self._changes(convert.key_from_name(request.name, "round")):
            yield service.WatchRoundResponse(round=convert.round_to_pb(work))

    async def CreateJob(self, request: service.CreateJobRequest, context: Context) -> jobs.Job:
        """Create a job."""
        key = convert.job_key(request)
        spec = convert.job_from_pb(request.job, self._store)
        return convert.job_to_pb(await self._create(key, spec, jobs.JobStatus()))

    async def GetJob(self, request: service.GetJobRequest, context: Context) -> jobs.Job:
        """Get a job."""
        return convert.job_to_pb(await self._works.get(convert.key_from_name(request.name, "job")))

    async def ListJobs(
        self, request: service.ListJobsRequest, context: Context
    ) -> service.ListJobsResponse:
        """List jobs, newest first."""
        works, token = await self._page(request, "job")
        listed = [convert.job_to_pb(work) for work in works]
        return service.ListJobsResponse(jobs=listed, next_page_token=token)

    async def CancelJob(self, request: service.CancelJobRequest, context: Context) -> jobs.Job:
        """Stop a job."""
        work = await self._works.request_cancel(convert.key_from_name(request.name, "job"))
        self._controller.wake()
        return convert.job_to_pb(work)

    async def RetryJob(self, request: service.RetryJobRequest, context: Context) -> jobs.Job:
        """Begin a job again that did not make everything."""
        work = await self._works.get(convert.key_from_name(request.name, "job"))
        work = await self._reopen(work, convert.job_status_to_retry(work))
        return convert.job_to_pb(work)

    async def WatchJob(
        self, request: service.WatchJobRequest, context: Context
    ) -> AsyncIterator[service.WatchJobResponse]:
        """Stream a job until it is over."""
        async for work in self._changes(convert.key_from_name(request.name, "job")):
            yield service.WatchJobResponse(job=convert.job_to_pb(work))

    async def _create(
        self,
        key: WorkKey,
        spec: rounds.RoundSpec | jobs.Job,
        status: rounds.RoundStatus | jobs.JobStatus,
    ) -> Work:
        work = await self._works.create(
            key,
            spec=spec.SerializeToString(deterministic=True),
            status=status.SerializeToString(deterministic=True),
        )
        self._controller.wake()
        return work

    async def _reopen(self, work: Work, status: rounds.RoundStatus | jobs.JobStatus) -> Work:
        reopened = await self._works.reopen(
            work, status=status.SerializeToString(deterministic=True)
        )
        self._controller.wake()
        return reopened

    async def _page(
        self, request: service.ListRoundsRequest | service.ListJobsRequest, kind: str
    ) -> tuple[list[Work], str]:
        project = convert.project_from_parent(request.parent)
        size = convert.page_size_from_pb(request.page_size)
        before = convert.page_token_from_pb(request.page_token, project, kind)
        works = await self._works.page(project, kind, limit=size + 1, before=before)
        token = convert.page_token_to_pb(works[size - 1]) if len(works) > size else ""
        return works[:size], token

    async def _changes(self, key: WorkKey) -> AsyncIterator[Work]:
        """Yield a row whenever its revision rises, the last time when it is over."""
        revision = 0
        while True:
            work = await self._works.get(key)
            if work.revision != revision:
                revision = work.revision
                yield work
            if work.finished:
                return
            await asyncio.sleep(min(self._poll_seconds, 0.5))
