from sensorium.demo.session import (
    SessionEvent,
    SessionRequest,
    StreamCounts,
    counts_from_diagnostics,
)

REQUEST = SessionRequest(
    ("/recorder", "/geometry", "/camera/rgbd_camera"), "/geometry", "/camera/rgbd_camera", "",
    "/recorder", "/camera/rgbd", 120, "map.ply",
)  # fmt: skip


def test_a_request_survives_the_way_through_an_argument():
    assert SessionRequest.from_json(REQUEST.to_json()) == REQUEST


def test_events_survive_the_way_through_a_line():
    counts = StreamCounts(
        published=3, received=2, rejected={"encoding": 1}, latency_ms=(1.5, 2.5), map_points=7
    )
    for event in (
        SessionEvent("phase", 'line "one"\nline two'),
        SessionEvent("progress", counts=counts),
        SessionEvent("failed", "why"),
    ):
        line = event.to_line()
        assert "\n" not in line
        assert SessionEvent.from_line(line) == event


def test_log_lines_are_no_events():
    assert SessionEvent.from_line("[INFO] [1.0] [node]: text") is None
    assert SessionEvent.from_line("") is None


def test_counts_come_from_the_nodes_diagnostics():
    values = {
        "/camera/rgbd_camera": {"published": "10", "rejected": "1", "rejected.pose_missing": "1"},
        "/geometry": {
            "received": "9", "processed": "6", "superseded": "1", "failed": "0", "rejected": "2",
            "rejected.encoding": "2", "map.fused": "3", "rate_hz": "7.9", "latency_p50_ms": "20",
            "latency_p95_ms": "40",
        },
        "/recorder": {"written": "55", "dropped": "4"},
    }  # fmt: skip
    counts = counts_from_diagnostics(REQUEST, values, 100)
    assert counts == StreamCounts(
        published=10, received=9, processed=6, superseded=1, rejected={"encoding": 2},
        rejected_by_source={"pose_missing": 1}, fused=3, rate_hz=7.9, map_points=100,
        latency_ms=(20.0, 40.0), recorded=55, recording_dropped=4,
    )  # fmt: skip
    assert counts.lost == 1


def test_frames_of_a_bag_are_counted_by_its_player():
    request = SessionRequest(
        ("/recorder", "/geometry", "/bag_player"), "/geometry", "", "/bag_player", "/recorder",
        "/wrist/rgbd", 5, "map.ply",
    )  # fmt: skip
    values = {"/bag_player": {"published": "40", "published./wrist/rgbd": "5"}}
    assert counts_from_diagnostics(request, values, 0).published == 5


def test_before_the_first_diagnostics_everything_is_zero():
    assert counts_from_diagnostics(REQUEST, {}, 0) == StreamCounts()
