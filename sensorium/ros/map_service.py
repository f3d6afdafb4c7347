"""The fused map beside a node's frames: its own worker, its services, its counts."""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensorium_ros.srv import SaveMap
from std_srvs.srv import Trigger

from sensorium import __version__
from sensorium.geometry.backend import GeometryResult
from sensorium.geometry.map_keeper import MapConfiguration, MapKeeper
from sensorium.geometry.surface import MapPoints
from sensorium.ros.diagnostics import Durations, Status
from sensorium.ros.robot_filter import RobotFilter
from sensorium.ros.tf import TransformError
from sensorium.ros.worker import NewestOnlyWorker

T = TypeVar("T")


class MapService:
    """Fuses views at its own pace and serves ``~/save_map`` and ``~/reset``.

    Args:
        node: the node.
        configuration: the map.
        map_frame: fixed frame of the map.
        device: torch device.
        robot: what keeps the robot out of the map.
        publish: called in the map's worker with (points, stamp_ns) when the map is to be published.
    """

    def __init__(
        self,
        node: Node,
        configuration: MapConfiguration,
        map_frame: str,
        device: str,
        robot: RobotFilter,
        publish: Callable[[MapPoints, int], None],
    ) -> None:
        self._node = node
        self._map_frame = map_frame
        self._keeper = MapKeeper(configuration, device)
        self._robot = robot
        self._publish = publish
        self._fused = 0
        self._not_fused: Counter[str] = Counter()
        self._duration = Durations()
        self._published_s = 0.0
        self._job_numbers = itertools.count()
        self._jobs: NewestOnlyWorker[Callable[[], None]] = NewestOnlyWorker(
            "map", lambda job: job(), self._report
        )
        self._jobs.start()
        # A coroutine keeps its callback group busy while it waits; frames use the default one.
        group = ReentrantCallbackGroup()
        self._services = [
            node.create_service(SaveMap, "~/save_map", self._save, callback_group=group),
            node.create_service(Trigger, "~/reset", self._reset, callback_group=group),
        ]

    def close(self) -> None:
        """Finish the job in hand and withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []
        self._jobs.stop()
        self._robot.close()

    def change(self, configuration: MapConfiguration) -> None:
        """Apply run-time parameters.

        Raises:
            ValueError: contradictory limits.
        """
        self._keeper.change(configuration)

    def add(self, result: GeometryResult) -> None:
        """Offer a view; it is fused when its camera is due and the worker is free."""
        if result.view.world_from_camera is None:
            self._not_fused["no_pose"] += 1
        elif self._keeper.is_due(result):
            self._jobs.submit(functools.partial(self._fuse, result), f"fuse {result.camera_name}")
        else:
            self._not_fused["not_due"] += 1

    def describe(self, status: Status) -> None:
        """Add counts, times and size of the map to a status."""
        status.value("map.fused", self._fused)
        for reason, count in sorted(self._not_fused.items()):
            status.value(f"map.not_fused.{reason}", count)
        counts = self._jobs.counts
        status.value("map.superseded", counts.superseded)
        status.value("map.failed", counts.failed)
        self._duration.describe(status, "map.fuse")
        fused_map = self._keeper.map
        status.value("map.memory_mb", fused_map.memory_bytes / 2**20)
        status.value("map.evicted_blocks", fused_map.evicted_blocks)
        if fused_map.dropped_blocks:
            status.warn(
                f"{fused_map.dropped_blocks} map blocks found no place: raise "
                "map.fusion.max_blocks or map.fusion.voxel_size_m"
            )
        self._robot.describe(status)

    def _fuse(self, result: GeometryResult) -> None:
        started = time.monotonic()
        try:
            self._keeper.fuse(result, self._robot.on_robot(result))
        except TransformError as error:
            self._skip("robot_pose", error)
            return
        except ValueError as error:
            self._skip("unusable", error)
            return
        self._fused += 1
        self._duration.add(time.monotonic() - started)
        if started - self._published_s >= self._keeper.configuration.publish_period_s:
            self._published_s = started
            self._publish(self._keeper.points_to_publish(), result.stamp_ns)

    def _skip(self, reason: str, error: Exception) -> None:
        self._not_fused[reason] += 1
        self._node.get_logger().warning(f"not fused ({reason}): {error}", throttle_duration_sec=5.0)

    def _report(self, _job: Callable[[], None], error: Exception) -> None:
        self._node.get_logger().error(f"map: {error!r}", throttle_duration_sec=5.0)

    # Writing a file takes longer than the executor may be blocked, hence coroutines.
    async def _save(self, request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        comment = f"sensorium {__version__}, frame {self._map_frame}, metres"
        try:
            path, count = await self._on_worker(
                functools.partial(self._keeper.save, request.filename, comment)
            )
        except (ValueError, OSError) as error:
            response.message = str(error)
            return response
        response.success, response.path, response.points = True, str(path), count
        response.message = f"{count} points written to {path}"
        return response

    async def _reset(self, _request: Any, response: Any) -> Any:  # noqa: ANN401
        await self._on_worker(self._keeper.reset)
        response.success, response.message = True, "the map is empty"
        return response

    def _on_worker(self, job: Callable[[], T]) -> Any:  # noqa: ANN401 - an awaitable of rclpy
        future = Future(executor=self._node.executor)

        def run() -> None:
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)

        self._jobs.submit(run, f"job {next(self._job_numbers)}")
        return future
