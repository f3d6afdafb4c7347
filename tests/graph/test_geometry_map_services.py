"""save_map and reset: files are whole and stay in their folder, frames keep coming meanwhile."""

import threading

import pytest
from graph_nodes import wait_until
from graph_tools import FrameSender, FrameStream, geometry_accounts_for
from sensor_msgs.msg import PointCloud2
from sensorium_ros.srv import SaveMap
from std_srvs.srv import Trigger

from sensorium.geometry.ply import read_ply

QUICK_MAP = {"map.max_rate_hz": 1000.0, "map.fusion.min_weight": 0.1}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "maps"


@pytest.fixture
def node(graph, folder):
    return graph.active_geometry(**QUICK_MAP, **{"map.directory": str(folder)})


def save(graph, filename):
    return graph.call(SaveMap, "/geometry/save_map", SaveMap.Request(filename=filename))


def test_an_empty_map_is_not_saved(graph, node, folder):
    response = save(graph, "map.ply")
    assert not response.success
    assert "nothing has been fused yet" in response.message
    assert not list(folder.glob("*"))


def test_maps_are_saved_while_frames_keep_coming_and_no_frame_is_lost_over_it(graph, node, folder):
    with FrameStream(graph) as stream:
        graph.status(node, lambda s: s.count("map.fused") > 0)
        fused = []
        for number in range(5):
            response = save(graph, f"rooms/map{number}.ply")
            assert response.success, response.message
            path = folder / "rooms" / f"map{number}.ply"
            assert response.path == str(path)
            assert len(read_ply(path)["x"]) == response.points
            fused.append(graph.status(node).count("map.fused"))
        assert fused == sorted(set(fused))
    # Stopped while it was under way, the last frame may have had no reader.
    status = graph.status(
        node, lambda s: s.count("received") == geometry_accounts_for(s) == stream.sent
    )
    assert status.count("lost") == status.count("rejected") == status.count("map.failed") == 0


@pytest.mark.parametrize(
    ("filename", "text"),
    [
        ("../escape.ply", "leads out of"),
        ("a/../../escape.ply", "leads out of"),
        ("/tmp/escape.ply", "leads out of"),
        ("map.txt", "does not end in .ply"),
        ("", "does not end in .ply"),
    ],
)
def test_a_file_outside_the_folder_or_of_another_kind_is_refused(
    graph, node, folder, filename, text
):
    response = save(graph, filename)
    assert not response.success
    assert text in response.message
    assert not list(folder.parent.rglob("*.ply"))


def test_a_link_that_leads_out_of_the_folder_is_refused(graph, node, folder, tmp_path):
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    response = save(graph, "out/escape.ply")
    assert not response.success
    assert "leads out of" in response.message


def test_a_folder_that_cannot_be_written_is_named_and_the_node_lives_on(graph, node, folder):
    with FrameStream(graph):
        graph.status(node, lambda s: s.count("map.fused") > 0)
        folder.write_text("a file where a folder should be")
        response = save(graph, "map.ply")
        assert not response.success
        assert str(folder) in response.message
        folder.unlink()
        assert save(graph, "map.ply").success


def test_reset_empties_the_map_and_fusing_goes_on(graph, node):
    maps = graph.collect(PointCloud2, "/geometry/map", "transient_local")
    with FrameStream(graph):
        graph.status(node, lambda s: s.count("map.fused") > 0)
        wait_until(lambda: maps, "no map was published")
        assert maps[-1].header.frame_id == "map"
    graph.status(node, lambda s: s.count("received") == geometry_accounts_for(s))
    response = graph.call(Trigger, "/geometry/reset", Trigger.Request())
    assert response.success
    assert "nothing has been fused yet" in save(graph, "map.ply").message
    with FrameStream(graph):
        wait_until(lambda: save(graph, "map.ply").success, "the map stays empty")


def test_frames_keep_coming_while_the_map_is_being_saved(graph, tmp_path):
    node = graph.host("geometry", parameters={"threads": 1, "map.directory": str(tmp_path)})
    graph.wait_state(node, "active")
    sender = FrameSender(graph)
    sender.until_points_come()
    released = threading.Event()
    node.node._map._keeper.save = lambda *_: released.wait(30) and (tmp_path / "a.ply", 1)
    client = graph.probe.create_client(SaveMap, "/geometry/save_map")
    wait_until(client.service_is_ready, "the service")
    future = client.call_async(SaveMap.Request(filename="a.ply"))
    wait_until(lambda: node.node._map._jobs.counts.held, "the save under way")
    before = len(sender.points)
    sender.send()
    wait_until(lambda: len(sender.points) > before, "points during the save")
    assert not future.done()
    released.set()
    wait_until(future.done, "the answer")
    assert future.result().success
