"""Jobs: long steps on their own, outside a round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parfocal._connection import Connection
from parfocal._names import child_name, last_part, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal.loop.v1 import loop_service_pb2 as messages
from parfocal.loop.v1.job_pb2 import Job
from parfocal.loop.v1.loop_service_pb2_grpc import LoopServiceStub


class Jobs:
    """Jobs: train, segment, propose or embed, durably."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = LoopServiceStub(connection.channel)

    def create(self, project: str, job: str, spec: Job) -> Job:
        """Create a job, which begins at once; the same one again is returned as it is.

        Args:
            project: Name of the project.
            job: Name of the job.
            spec: A `Job` with one of `train`, `segment`, `propose`, `embed` set.

        Raises:
            ConflictError: If a job of that name is to do something else.

        Example:
            >>> client.jobs.create("vnc", "predict-1", Job(segment=segment))  # doctest: +SKIP
        """
        request = messages.CreateJobRequest(
            parent=project_name(project), job_id=last_part(job), job=spec
        )
        return self._connection.call(self._stub.CreateJob, request)

    def get(self, project: str, job: str) -> Job:
        """Return a job as it is now.

        Example:
            >>> client.jobs.get("vnc", "predict-1").status.fraction  # doctest: +SKIP
            0.5
        """
        request = messages.GetJobRequest(name=child_name(project, "jobs", job))
        return self._connection.call(self._stub.GetJob, request)

    def list(self, project: str) -> Iterator[Job]:
        """Yield the jobs of a project, newest first.

        Example:
            >>> [job.name for job in client.jobs.list("vnc")]  # doctest: +SKIP
            ['projects/vnc/jobs/predict-1']
        """

        def fetch(token: str) -> tuple[Iterable[Job], str]:
            request = messages.ListJobsRequest(
                parent=project_name(project), page_size=PAGE_SIZE, page_token=token
            )
            page = self._connection.call(self._stub.ListJobs, request)
            return page.jobs, page.next_page_token

        return every_item(fetch)

    def cancel(self, project: str, job: str) -> Job:
        """Stop a job.

        Raises:
            ConflictError: If it is over.

        Example:
            >>> client.jobs.cancel("vnc", "predict-1")  # doctest: +SKIP
        """
        request = messages.CancelJobRequest(name=child_name(project, "jobs", job))
        return self._connection.call(self._stub.CancelJob, request)

    def retry(self, project: str, job: str) -> Job:
        """Begin a job again that failed, was stopped, or has blocks in quarantine.

        What exists is found and not made again.

        Raises:
            ConflictError: If it is under way or made everything.

        Example:
            >>> client.jobs.retry("vnc", "predict-1")  # doctest: +SKIP
        """
        request = messages.RetryJobRequest(name=child_name(project, "jobs", job))
        return self._connection.call(self._stub.RetryJob, request)

    def watch(
        self, project: str, job: str, *, timeout_seconds: float | None = None
    ) -> Iterator[Job]:
        """Yield a job whenever it changes, beginning with how it is now, until it is over.

        Example:
            >>> *_, last = client.jobs.watch("vnc", "predict-1")  # doctest: +SKIP
        """
        request = messages.WatchJobRequest(name=child_name(project, "jobs", job))
        stream = self._connection.stream(
            self._stub.WatchJob, lambda: request, timeout_seconds=timeout_seconds
        )
        for response in stream:
            yield response.job
