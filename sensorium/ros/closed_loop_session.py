"""The ROS side of the demonstration's closed loop: runs the episodes, keeps pictures and numbers.

A process of its own; it prints events (`sensorium.demo.session`) as JSON lines and ends with "done"
or "failed".
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter, deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from sensorium_ros.msg import ActionChunk, Segments

from sensorium.demo.closed_loop import FRAMES, OVERLAY, RESULTS, ClosedLoopRequest
from sensorium.demo.session import SessionEvent
from sensorium.ros.convert.image import color_from_image
from sensorium.ros.episodes import EpisodeClient, EpisodeError, EpisodeRequest
from sensorium.ros.qos import qos_profile
from sensorium.ros.signal_log import SignalLog

# Every network is loaded and warmed up before.
_READY_S = 120.0
_MOST_FRAMES, _MOST_CHUNKS = 300, 10_000


class ClosedLoopSession:
    """Runs the episodes of a request."""

    def __init__(self, request: ClosedLoopRequest) -> None:
        self._request = request
        self._node = rclpy.create_node("demo_session")
        self._lock = threading.Lock()
        self._frames: list[NDArray[np.uint8]] = []
        self._overlay: NDArray[np.uint8] | None = None
        self._labels: Counter[str] = Counter()
        self._values: dict[str, dict[str, str]] = {}
        self._inference_ms: deque[float] = deque(maxlen=_MOST_CHUNKS)
        best = qos_profile("sensor_data", 10)
        self._node.create_subscription(Image, request.camera_topic, self._see, best)
        base = request.overlay_topic.rpartition("/")[0]
        self._node.create_subscription(Image, request.overlay_topic, self._overlaid, best)
        self._node.create_subscription(Segments, f"{base}/segments", self._named, best)
        self._signals = SignalLog(self._node, "/tabletop_world", request.contact_topic)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 50)
        self._node.create_subscription(ActionChunk, "/policy/chunk", self._proposed, 50)
        self._episodes = EpisodeClient(self._node)

    def run(self) -> None:
        """Run every episode and write the results.

        Raises:
            EpisodeError: world or policy does not answer.
        """
        request = self._request
        _tell("phase", f"starting {len(request.nodes)} nodes")
        self._episodes.wait_until_active(request.nodes, _READY_S)
        self._episodes.wait_until_ready(_READY_S)
        outcomes: list[dict[str, Any]] = []
        for number, (seed, task, phrase) in enumerate(request.episodes):
            _tell("phase", f"episode {number + 1} of {len(request.episodes)}: {task}")
            with self._lock:
                self._frames = []
            outcome = self._episodes.run(EpisodeRequest(seed, task, phrase))
            verdict = "done" if outcome.success else f"not done ({outcome.reason})"
            _tell("phase", f'"{outcome.instruction}": {verdict}')
            strip = self._signals.episode()
            outcomes.append(
                {**asdict(outcome), "signals": None if strip is None else asdict(strip)}
            )
            with self._lock:
                frames = np.array(self._frames, np.uint8)
                overlay = self._overlay
            folder = Path(request.folder)
            np.savez_compressed(folder / FRAMES.format(number), frames=frames)
            if overlay is not None:
                np.savez_compressed(folder / OVERLAY.format(number), overlay=overlay)
        results = {
            "episodes": outcomes,
            "inference_ms": list(self._inference_ms),
            "labels": dict(self._labels.most_common(12)),
            "diagnostics": {name: self._values.get(name, {}) for name in request.nodes},
        }
        (Path(request.folder) / RESULTS).write_text(json.dumps(results, indent=1))

    def close(self) -> None:
        """End the node."""
        self._episodes.close()
        self._node.destroy_node()

    def _see(self, message: Image) -> None:
        with self._lock:
            if len(self._frames) < _MOST_FRAMES:
                self._frames.append(color_from_image(message))

    def _overlaid(self, message: Image) -> None:
        with self._lock:
            self._overlay = color_from_image(message)

    def _named(self, message: Segments) -> None:
        self._labels.update({segment.name for segment in message.segments})

    def _note(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._values[status.name] = {item.key: item.value for item in status.values}

    def _proposed(self, message: ActionChunk) -> None:
        self._inference_ms.append(1e3 * message.inference_s)


def _tell(kind: str, text: str = "") -> None:
    sys.stdout.write(SessionEvent(kind, text).to_line() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the session that the only argument asks for; returns the exit code."""
    request = ClosedLoopRequest.from_json(sys.argv[1])
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    session = ClosedLoopSession(request)
    try:
        session.run()
        _tell("done")
    except EpisodeError as error:
        _tell("failed", str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        session.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
