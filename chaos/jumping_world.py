"""The tabletop world, whose simulated time can be made to jump: a simulator that is set back.

Run as ``python chaos/jumping_world.py --ros-args ...`` in place of the node `tabletop_world`. The
signals of ``JUMPS_S`` move simulated time, and with it /clock and the stamps of everything that the
world publishes. Signals, because they are heard at once however busy the node is.
"""

from __future__ import annotations

import signal
from typing import Any

from sensorium.nodes.tabletop_world import TabletopWorldNode
from sensorium.ros.running import run
from sensorium.tabletop.world import TabletopWorld

JUMPS_S = {signal.SIGUSR1: 60.0, signal.SIGUSR2: -30.0}


class JumpingWorld(TabletopWorldNode):
    """The node, with a clock that obeys the signals."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._waiting_s = 0.0
        super().__init__(**arguments)
        for number in JUMPS_S:
            signal.signal(number, self._ask)

    def set_up(self) -> None:
        """Let time jump before a state is published: the runner's thread alone moves time."""
        super().set_up()
        assert self._output is not None  # noqa: S101 - made by set_up
        publish = self._output.state

        def jump_and_publish(world: TabletopWorld) -> None:
            jump_s, self._waiting_s = self._waiting_s, 0.0
            # From outside of the product on purpose: no world that is meant to be used does this.
            world._now_ns += round(jump_s * 1e9)
            publish(world)

        self._output.state = jump_and_publish  # type: ignore[method-assign]

    def _ask(self, number: int, _frame: object) -> None:
        self._waiting_s = JUMPS_S[signal.Signals(number)]


def main() -> None:
    """Run the node."""
    run([JumpingWorld])


if __name__ == "__main__":
    main()
