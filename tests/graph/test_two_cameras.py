"""Two cameras of one robot feed one geometry node, and neither disturbs the other."""

import signal

from graph_nodes import SMALL_RENDERED, wait_until
from graph_tools import (
    SECOND_NS,
    FrameSender,
    geometry_accounts_for,
    now_ns,
    translation,
    wall_message,
)
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

TOPICS = ["wrist/rgbd", "scene/rgbd"]


def camera_parameters(name, width_px):
    rendered = SMALL_RENDERED | {"width_px": width_px}
    return {
        "source": "rendered",
        "camera_name": name,
        "color_optical_frame": f"{name}_optical",
        **{f"rendered.{key}": value for key, value in rendered.items()},
    }


def test_two_camera_processes_are_both_used_and_the_death_of_one_leaves_the_other_alone(graph):
    geometry = graph.process("geometry", parameters={"threads": 1, "rgbd_topics": TOPICS})
    clouds = graph.collect(PointCloud2, "/geometry/points")
    graph.process("rgbd_camera", namespace="wrist", parameters=camera_parameters("wrist", 160))
    scene = graph.process(
        "rgbd_camera", namespace="scene", parameters=camera_parameters("scene", 200)
    )
    widths = {"wrist_optical": 160, "scene_optical": 200}
    wait_until(
        lambda: set(widths) <= {cloud.header.frame_id for cloud in list(clouds)},
        lambda: f"frames { ({cloud.header.frame_id for cloud in list(clouds)}) }",
    )
    assert all(cloud.width == widths[cloud.header.frame_id] for cloud in list(clouds))
    status = graph.status(
        geometry, lambda s: min(s.count("input0.received"), s.count("input1.received")) > 5
    )
    assert status.values["input0.topic"] == "/wrist/rgbd"
    assert status.count("received") == sum(status.count(f"input{i}.received") for i in (0, 1))
    assert status.count("received") - geometry_accounts_for(status) in (0, 1, 2), status
    assert status.count("rejected") == status.count("failed") == 0
    scene.kill(signal.SIGKILL)
    at_death = graph.status(geometry)
    after = graph.status(
        geometry, lambda s: s.count("input0.received") > at_death.count("input0.received") + 5
    )
    assert after.count("rejected") == after.count("failed") == 0
    assert after.count("input0.lost") == 0


def test_bad_frames_and_a_restarted_clock_of_one_camera_do_not_stop_the_other(graph):
    node = graph.active_geometry(rgbd_topics=TOPICS, **{"map.max_rate_hz": 1000.0})
    wrist = FrameSender(graph, "/wrist/rgbd")
    scene = graph.publisher(RgbdFrameMessage, "/scene/rgbd")
    wrist.until_points_come()

    def send_scene(stamp_ns, **changes):
        frame = wall_message(
            stamp_ns,
            camera_name="scene",
            frame_id="scene_optical",
            distance_m=2.0,
            pose=translation(1.0, 0.0, 0.0),
        )
        for name, value in changes.items():
            setattr(frame, name, value)
        scene.publish(frame)

    stamp_ns = now_ns()
    send_scene(stamp_ns)
    wait_until(lambda: wrist.points[-1].header.frame_id == "scene_optical", "scene is not used")
    # The same camera name on both topics is a mistake that must be named.
    send_scene(stamp_ns + 1, camera_name="camera")
    graph.status(node, lambda s: s.count("rejected.frame_changed") == 1)
    for number in range(3):
        send_scene(stamp_ns - 100 * SECOND_NS + number)
        seen = len(wrist.points)
        wrist.send()
        # Each camera has a topic of its own: either frame may be the last to come out.
        wait_until(
            lambda seen=seen: any(
                points.header.frame_id == "optical" for points in wrist.points[seen:]
            ),
            "wrist stopped",
        )
    sent = wrist.sent + 5
    status = graph.status(node, lambda s: s.count("received") == geometry_accounts_for(s) == sent)
    assert status.count("clock_restarts") >= 1
    assert status.count("rejected") == 1, status
