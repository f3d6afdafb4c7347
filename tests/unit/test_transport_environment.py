"""The DDS environment: a large segment where it fits, the user's choice where there is one."""

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sensorium.ros import transport
from sensorium.ros.transport import transport_environment

MB = 1024 * 1024
PROFILE = Path(__file__).parents[2] / "config/fastdds/shm_udp.xml"


def free(megabytes):
    return lambda: int(megabytes * MB)


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path)}


def segment_bytes(path):
    root = ElementTree.fromstring(path.read_text())  # noqa: S314 - our own file
    (size,) = (e.text for e in root.iter() if e.tag.endswith("segment_size"))
    return int(size)


def test_with_enough_space_the_shipped_profile_is_set_and_nothing_is_said(home):
    variables, notes = transport_environment(home, free_shm_bytes=free(1000))
    assert variables == {"FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE)}
    assert notes == []


@pytest.mark.parametrize("distribution", ["humble", "iron", "jazzy"])
def test_distributions_with_fast_dds_2_get_the_variable_that_they_read(home, distribution):
    variables, _ = transport_environment(
        {**home, "ROS_DISTRO": distribution}, free_shm_bytes=free(1000)
    )
    assert list(variables) == ["FASTRTPS_DEFAULT_PROFILES_FILE"]


@pytest.mark.parametrize("distribution", ["kilted", "rolling", ""])
def test_newer_distributions_get_the_variable_that_does_not_warn(home, distribution):
    variables, _ = transport_environment(
        {**home, "ROS_DISTRO": distribution}, free_shm_bytes=free(1000)
    )
    assert list(variables) == ["FASTDDS_DEFAULT_PROFILES_FILE"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp"),
        ("RMW_IMPLEMENTATION", "rmw_zenoh_cpp"),
        ("FASTDDS_DEFAULT_PROFILES_FILE", "/etc/mine.xml"),
        ("FASTRTPS_DEFAULT_PROFILES_FILE", "/etc/mine.xml"),
        ("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA"),
    ],
)
def test_the_choice_of_the_user_is_left_alone_and_named(home, name, value):
    variables, notes = transport_environment({**home, name: value}, free_shm_bytes=free(1000))
    assert variables == {}
    assert len(notes) == 1
    assert name in notes[0]
    assert value in notes[0]


@pytest.mark.parametrize("rmw", ["rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp", ""])
def test_choosing_fast_dds_explicitly_changes_nothing(home, rmw):
    variables, notes = transport_environment(
        {**home, "RMW_IMPLEMENTATION": rmw}, free_shm_bytes=free(1000)
    )
    assert variables
    assert notes == []


@pytest.mark.parametrize(("free_mb", "processes"), [(64, 1), (64, 8), (300, 8), (500, 8)])
def test_a_small_shared_memory_shrinks_the_segment_until_all_processes_fit(
    home, free_mb, processes
):
    variables, notes = transport_environment(home, processes, free(free_mb))
    path = Path(variables["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert path.is_relative_to(home["HOME"])
    size = segment_bytes(path)
    # 4 % bookkeeping and a second segment of 0.54 MB per process were measured with Fast DDS 3.2.3.
    assert processes * (size * 1.047 + 0.54 * MB) <= free_mb * MB
    assert size >= 4 * MB
    assert len(notes) == 1
    assert f"{free_mb} MB free" in notes[0]
    assert f"from 64 to {size // MB} MB" in notes[0]
    assert "--shm-size" in notes[0]


def test_only_the_segment_size_differs_in_the_shrunk_profile(home):
    variables, _ = transport_environment(home, 1, free(32))
    path = Path(variables["FASTDDS_DEFAULT_PROFILES_FILE"])
    shrunk = path.read_text().replace(str(segment_bytes(path)), "67108864")
    assert shrunk == PROFILE.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_shrinking_twice_gives_the_same_file(home):
    first, second = (transport_environment(home, 1, free(32)) for _ in range(2))
    assert first == second


def test_the_cache_directory_of_the_user_is_respected(home, tmp_path):
    environ = {**home, "XDG_CACHE_HOME": str(tmp_path / "elsewhere")}
    variables, _ = transport_environment(environ, 1, free(32))
    assert (tmp_path / "elsewhere") in Path(next(iter(variables.values()))).parents


def test_too_little_shared_memory_sets_nothing_and_says_what_will_be_lost(home):
    variables, notes = transport_environment(home, 8, free(16))
    assert variables == {}
    assert "16 MB free, too little for 8 processes" in notes[0]
    assert "reliable" in notes[0]


def test_a_cache_that_cannot_be_written_sets_nothing_and_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    variables, notes = transport_environment({"HOME": str(tmp_path / "file")}, 1, free(32))
    assert variables == {}
    assert "could not be written" in notes[0]


def test_a_machine_without_shared_memory_sets_nothing_and_says_so(home):
    def missing():
        raise FileNotFoundError(2, "No such file or directory", "/dev/shm")

    variables, notes = transport_environment(home, free_shm_bytes=missing)
    assert variables == {}
    assert "cannot be read" in notes[0]


def test_an_installed_package_finds_the_profile_in_its_prefix(home, tmp_path, monkeypatch):
    installed = tmp_path / "install/share/sensorium_ros/config/fastdds/shm_udp.xml"
    installed.parent.mkdir(parents=True)
    installed.write_text(PROFILE.read_text())
    monkeypatch.setattr(transport, "__file__", str(tmp_path / "lib/sensorium/ros/transport.py"))
    environ = {**home, "AMENT_PREFIX_PATH": f"/nowhere{os.pathsep}{tmp_path / 'install'}"}
    variables, _ = transport_environment(environ, free_shm_bytes=free(1000))
    assert variables == {"FASTDDS_DEFAULT_PROFILES_FILE": str(installed)}
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "install"))
    variables, _ = transport_environment(home, free_shm_bytes=free(1000))
    assert variables == {"FASTDDS_DEFAULT_PROFILES_FILE": str(installed)}


def test_a_profile_that_was_not_installed_is_reported(home, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "__file__", str(tmp_path / "lib/sensorium/ros/transport.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    variables, notes = transport_environment(home, free_shm_bytes=free(1000))
    assert variables == {}
    assert "config/fastdds/shm_udp.xml was not found" in notes[0]


def test_the_profile_uses_only_elements_that_fast_dds_2_and_3_both_know():
    # Both schemas: fastRTPS_profiles.xsd of 2.x and fastdds_profiles.xsd of 3.x.
    known = {
        "profiles", "transport_descriptors", "transport_descriptor", "transport_id", "type",
        "segment_size", "port_queue_capacity", "participant", "rtps", "userTransports",
        "useBuiltinTransports",
    }  # fmt: skip
    root = ElementTree.fromstring(PROFILE.read_text())  # noqa: S314 - our own file
    tags = {element.tag.rsplit("}")[-1] for element in root.iter()}
    assert tags == known
    ids = [e.text for e in root.iter() if e.tag.endswith("}transport_id")]
    assert sorted(ids[:2]) == sorted(ids[2:])
