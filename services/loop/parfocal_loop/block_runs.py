"""Blocks of an image, predicted by any number of replicas; what fails again and again is set aside.

Blocks are asked for by the thousand, those that failed again with the next ones, and so on. A
failure that passes, such as a store that does not answer, is waited for without end. A request that
can never work ends the job. Any other failure counts against its block, be it a damaged chunk or a
replica that was lost while at it; after a few of them the block is set aside, and the others go on.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field
from itertools import islice

from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal_loop.bulk import Bulk
from parfocal_loop.calls import BlockAnswer, Call, Trouble, segment_block
from parfocal_loop.messages import box_from_pb
from parfocal_loop.peers import Address
from parfocal_loop.progress import Counter, Report
from parfocal_runtime.errors import DomainError, WrongState
from parfocal_runtime.tasks import CancelFlag

ATTEMPTS = 3
"""How often a block is tried before it is set aside."""
MOST_SET_ASIDE = 1000
"""With more, something is wrong that is not about single blocks."""

_MOST_ASKED = 4096
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class BlocksRefused(DomainError):
    """The service refuses the blocks for a reason that has nothing to do with any one of them."""


@dataclass
class Quarantine:
    """Blocks that were set aside.

    Attributes:
        blocks: Which, and why; what was in it before is not tried.
        tolerated: How many there may be in a job that succeeds.
    """

    blocks: MutableSequence[jobs.QuarantinedBlock] = field(default_factory=list)
    tolerated: int = 0


def run_blocks(
    bulk: Bulk,
    address: Address,
    requests: Sequence[inference.SegmentBlockRequest],
    *,
    quarantine: Quarantine,
    report: Report,
    cancel: CancelFlag,
) -> None:
    """Predict blocks until each is made or set aside.

    Args:
        bulk: Where calls run.
        address: Of the inference service; calls are spread over all that answer there.
        requests: One for each block.
        quarantine: Gets the blocks that are set aside.
        report: Told how far it is.
        cancel: Stops it.

    Raises:
        BlocksRefused: If no block can be made, with the service's own reason.
        WrongState: If more blocks were set aside than is tolerated
            (`ERROR_REASON_BLOCKS_QUARANTINED`).
        Cancelled: If `cancel` was set.
    """
    run = _Run(requests, quarantine, report)
    pause = _FIRST_PAUSE
    while run.open:
        run.ask(bulk, address, cancel)
        if run.has_failed:
            cancel.wait(pause)
            cancel.check()
        pause = min(2 * pause, _LONGEST_PAUSE) if run.is_waiting else _FIRST_PAUSE
    run.judge()


class _Run:
    """Blocks that are not made yet, and how often each has failed.

    Attributes:
        open: Number of failures of each block that is not made, by its place in the requests.
        has_failed: Whether a block failed when blocks were last asked for.
        is_waiting: Whether one failed for a reason that passes.
    """

    def __init__(
        self,
        requests: Sequence[inference.SegmentBlockRequest],
        quarantine: Quarantine,
        report: Report,
    ) -> None:
        known = {box_from_pb(each.box) for each in quarantine.blocks}
        self._requests = requests
        self._quarantine = quarantine
        self._report = report
        self._made = 0
        self.open: dict[int, int] = {
            place: 0
            for place, request in enumerate(requests)
            if box_from_pb(request.box) not in known
        }
        self.has_failed = self.is_waiting = False
        self._counter = Counter(len(requests), "blocks")
        self._counter.set_aside(len(requests) - len(self.open))

    def ask(self, bulk: Bulk, address: Address, cancel: CancelFlag) -> None:
        """Ask once for blocks that are not made, the first ones of many."""
        places = list(islice(self.open, _MOST_ASKED))
        calls = [Call(address, self._requests[place].SerializeToString()) for place in places]
        self.has_failed = self.is_waiting = False

        def take(answers: Sequence[tuple[int, BlockAnswer]]) -> None:
            for number, answer in answers:
                self._take(places[number], answer)
            self._report(self._counter.progress())

        bulk.run(segment_block, calls, done=take, cancel=cancel)

    def _take(self, place: int, answer: BlockAnswer) -> None:
        trouble = answer.trouble
        if trouble is None:
            del self.open[place]
            self._made += 1
            (self._counter.found if answer.already_done else self._counter.made)()
            return
        self.has_failed = True
        if trouble.passes:
            self.is_waiting = True
        elif trouble.is_final:
            raise _refused(trouble)
        else:
            self.open[place] += 1
            if self.open[place] >= ATTEMPTS:
                self._set_aside(place, trouble)

    def judge(self) -> None:
        """Raise if too much was set aside."""
        blocks, tolerated = self._quarantine.blocks, self._quarantine.tolerated
        if not blocks:
            return
        first = blocks[0].failure
        if not self._made:
            raise BlocksRefused(first.reason, first.message, (), **dict(first.metadata))
        if len(blocks) > tolerated:
            raise WrongState(
                "ERROR_REASON_BLOCKS_QUARANTINED",
                f"{len(blocks)} of {len(self._requests)} blocks failed {ATTEMPTS} times and were "
                f"set aside, {tolerated} may be; the first because: {first.message}",
                blocks=len(blocks),
                tolerated=tolerated,
                first_reason=first.reason,
            )

    def _set_aside(self, place: int, trouble: Trouble) -> None:
        attempts = self.open.pop(place)
        self._counter.set_aside()
        self._quarantine.blocks.append(
            jobs.QuarantinedBlock(
                box=self._requests[place].box, failure=trouble.failure(), attempts=attempts
            )
        )
        if len(self._quarantine.blocks) > MOST_SET_ASIDE:
            self.judge()


def _refused(trouble: Trouble) -> BlocksRefused:
    return BlocksRefused(trouble.reason, trouble.message, (), **trouble.metadata)
