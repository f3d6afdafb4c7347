"""One run of a policy, from the goal of the RunPolicy action to its result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sensorium_ros.action import RunPolicy
from sensorium_ros.msg import ActionChunk

from sensorium.configuration import parameter
from sensorium.policy.contract import Contract
from sensorium.policy.rejections import Rejection
from sensorium.ros.convert.header import header
from sensorium.ros.guard_messages import GuardReport

# Reasons for which a run is a success.
SUCCESSES = ("time_limit", "task_done")


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """When a run predicts and when it ends."""

    replan: str = parameter(
        "threshold", "Predict when the plan in force is nearly used up, or for every observation "
        "(a world in lockstep, ensembling).", choices=("threshold", "every_observation"),
    )  # fmt: skip
    replan_threshold_s: float = parameter(
        0.5, "Rest of the plan at which the next chunk is predicted [s].", minimum=0.0, maximum=60.0
    )
    time_limit_s: float = parameter(
        60.0, "Time limit of goals that give none, on the ROS clock [s].", minimum=0.1,
        maximum=86400.0,
    )  # fmt: skip
    observation_patience_s: float = parameter(
        0.5, "Longest time of a run without a usable observation, on the ROS clock [s].",
        minimum=0.0, maximum=60.0,
    )  # fmt: skip
    wall_patience_s: float = parameter(
        10.0, "The same on the steady clock, for a clock that stands still [s].", minimum=0.1,
        maximum=3600.0,
    )  # fmt: skip
    guard_timeout_s: float = parameter(
        2.0, "Silence of the guards that ends a run [s].", minimum=0.5, maximum=60.0
    )


@dataclass(eq=False)
class PolicyRun:
    """What is known about a run. Thread-safe where several threads write.

    Attributes:
        instruction: for the policy.
        time_limit_s: on the ROS clock.
        started_ns: ROS time of the goal.
        on_end: called once, when the run ends.
        asked: whether the guards were asked for it and have not answered yet, or have agreed.
        asked_s: when they were asked last, on the steady clock [s].
        name: given by the guards when they allow motion; "" before.
        dry_run: whether the guards publish nothing.
        reason: why it ended; "" while it goes on.
        message: the same in words.
        waiting_for: why there is no observation now; "" when there is.
        refusals: the same as they were given.
        usable_ns: ROS time of the last usable observation.
        usable_s: the same on the steady clock [s].
        answered_ns: stamp of the last observation that the policy answered.
        planned_until_ns: end of the last chunk that the guards took.
        open_proposals: stamps that the guards have not judged yet.
        published: chunks from which trajectories were published.
        rejected: chunks that were refused.
        last_rejection: text of the newest refusal.
        observation_age_s: age of the observation at the last decision [s].
        inference_s: time of the network for it [s].
    """

    instruction: str
    time_limit_s: float
    started_ns: int
    on_end: Callable[[], None]
    asked: bool = False
    asked_s: float = -1e9
    name: str = ""
    dry_run: bool = True
    reason: str = ""
    message: str = ""
    waiting_for: str = "the guards"
    refusals: list[Rejection] = field(default_factory=list)
    usable_ns: int = 0
    usable_s: float = field(default_factory=time.monotonic)
    answered_ns: int = -1
    planned_until_ns: int = 0
    open_proposals: set[int] = field(default_factory=set)
    published: int = 0
    rejected: int = 0
    last_rejection: str = ""
    observation_age_s: float = 0.0
    inference_s: float = 0.0
    _own: Counter[str] = field(default_factory=Counter)
    _guards: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.usable_ns = self.started_ns
        # What was seen before the goal is not answered: the world may have been another.
        self.answered_ns = self.started_ns - 1

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return bool(self.reason)

    def end(self, reason: str, message: str) -> bool:
        """End the run; False when it had ended before."""
        with self._lock:
            if self.reason:
                return False
            self.reason, self.message = reason, message
        self.on_end()
        return True

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """Count refusals of the policy's own side."""
        with self._lock:
            self._own.update(rejection.reason.value for rejection in rejections)
            self.last_rejection = str(rejections[-1])

    def usable(self, now_ns: int) -> None:
        """Note that there is a usable observation."""
        self.waiting_for = ""
        self.usable_ns, self.usable_s = now_ns, time.monotonic()

    def take(self, report: GuardReport) -> None:
        """Take what the guards say about this run."""
        with self._lock:
            self.dry_run = report.dry_run
            self._guards = Counter(dict(report.counts))
            if report.rejections:
                self.last_rejection = report.rejections[-1]
            if report.proposal_stamp_ns in self.open_proposals:
                self.open_proposals.discard(report.proposal_stamp_ns)
                self.published += report.published
                self.rejected += bool(report.rejections)

    def feedback(self, now_ns: int) -> RunPolicy.Feedback:
        """Return the feedback of the action."""
        state = "dry_run" if self.dry_run else "acting"
        return RunPolicy.Feedback(
            state=f"waiting: {self.waiting_for}" if self.waiting_for else state,
            elapsed_s=self.elapsed_s(now_ns),
            chunks_published=self.published,
            chunks_rejected=self.rejected,
            last_rejection=self.last_rejection,
            observation_age_s=self.observation_age_s,
            inference_s=self.inference_s,
        )

    def result(self, now_ns: int) -> RunPolicy.Result:
        """Return the result of the action."""
        counts = self._own + self._guards
        return RunPolicy.Result(
            success=self.reason in SUCCESSES,
            reason=self.reason,
            message=self.message,
            seconds=self.elapsed_s(now_ns),
            chunks_published=self.published,
            chunks_rejected=self.rejected,
            rejection_names=sorted(counts),
            rejection_counts=[counts[name] for name in sorted(counts)],
        )

    def chunk_message(
        self,
        contract: Contract,
        identity: tuple[str, str],
        stamp_ns: int,
        actions: NDArray[np.float32],
    ) -> ActionChunk:
        """Return a chunk (T, A) for the log; what became of it is filled in later."""
        return ActionChunk(
            header=header(
                stamp_ns, contract.general.base_frame if contract.has_tip_actions else ""
            ),
            policy=identity[0],
            weights_sha256=identity[1],
            instruction=self.instruction,
            action_names=list(contract.action_names),
            rate_hz=contract.general.rate_hz,
            actions=np.asarray(actions, dtype=np.float32).reshape(-1),
            inference_s=self.inference_s,
        )

    def elapsed_s(self, now_ns: int) -> float:
        """Time since the goal on the ROS clock; 0 when that went back."""
        return max(now_ns - self.started_ns, 0) / 1e9
