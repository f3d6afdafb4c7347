"""The rendered source: the same for the same seed, exact, and varied by its options."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sensorium.configuration import build, parameters
from sensorium.sources import (
    FrameNames,
    RenderedConfiguration,
    SourceConfiguration,
    SourceError,
    frames,
    open_source,
)
from sensorium.sources.depth_sensor import DepthSensorOptions, measured_depth
from sensorium.sources.random_scene import COLORS, SceneOptions, random_scene
from sensorium.sources.rendered import RenderedSource
from sensorium.sources.scene import TABLETOP
from sensorium.sources.trajectory import Orbit

SMALL = RenderedConfiguration(seed=4, width_px=160, height_px=120, focal_px=130.0, frames=3)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others():
    sensor = DepthSensorOptions(noise=1.0, holes=0.1)
    configuration = replace(SMALL, sensor=sensor)
    first, again = (list(frames(RenderedSource(configuration))) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.frame.color, b.frame.color)
        assert np.array_equal(a.frame.depth_m, b.frame.depth_m, equal_nan=True)
        assert np.array_equal(a.frame.world_from_camera, b.frame.world_from_camera)
    other = RenderedSource(replace(configuration, seed=5)).read()
    assert not np.array_equal(other.frame.color, first[0].frame.color)
    # A frame does not depend on which frames were read before it.
    direct = RenderedSource(configuration).frame(2)
    assert np.array_equal(direct.frame.depth_m, first[2].frame.depth_m, equal_nan=True)


def test_a_source_ends_after_its_frames_and_stamps_by_its_rate():
    names = FrameNames("wrist", "wrist_color", "wrist_depth", "odom")
    configuration = SourceConfiguration("rendered", rendered=replace(SMALL, rate_hz=30.0))
    with open_source(configuration, names, start_ns=1_700_000_000_000_000_000) as source:
        assert not source.live and source.status == ""
        taken = list(frames(source))
        assert source.finished and source.read(0.1) is None
    stamps = [frame.frame.stamp_ns for frame in taken]
    assert stamps == [1_700_000_000_000_000_000 + n for n in (0, 33_333_333, 66_666_667)]
    frame = taken[0].frame
    assert (frame.camera_name, frame.optical_frame, frame.world_frame) == (
        "wrist", "wrist_color", "odom",
    )  # fmt: skip


def test_without_a_sensor_the_depth_is_the_truth():
    taken = RenderedSource(SMALL).read()
    assert np.array_equal(taken.frame.depth_m, taken.truth.depth_m)
    assert taken.frame.valid.all()
    assert taken.truth.class_ids.dtype == np.uint8 and taken.truth.class_ids.min() > 0
    ids = set(np.unique(taken.truth.instance_ids)) - {0}
    assert ids <= {thing.instance_id for thing in taken.truth.scene.objects}
    assert len(ids) > 3


def test_sensor_noise_grows_as_published_and_the_truth_stays():
    sensor = DepthSensorOptions(noise=2.0)
    taken = RenderedSource(replace(SMALL, width_px=640, height_px=480, focal_px=520.0,
                                   sensor=sensor)).read()  # fmt: skip
    truth = taken.truth.depth_m
    error = taken.frame.depth_m - truth
    for low, high in ((1.0, 1.3), (2.0, 2.5)):
        band = (truth > low) & (truth < high)
        assert band.sum() > 1000
        sigma = 2.0 * (0.0012 + 0.0019 * (truth[band] - 0.4) ** 2)
        assert np.std(error[band] / sigma) == pytest.approx(1.0, abs=0.05)


def test_holes_edges_and_grazing_views_lose_depth():
    random = np.random.default_rng(1)
    depth = np.full((120, 160), 2.0, np.float32)
    depth[:, 80:] = 1.0
    incidence = np.ones_like(depth)
    incidence[:20] = 0.05
    options = DepthSensorOptions(holes=0.2)
    assert np.isnan(measured_depth(depth, None, options, random)).mean() == pytest.approx(
        0.2, abs=0.01
    )
    edge = np.isnan(measured_depth(depth, None, DepthSensorOptions(edge_px=3), random))
    assert edge[:, 77:80].all() and edge.sum() == 3 * 120
    grazing = measured_depth(depth, incidence, DepthSensorOptions(grazing_deg=80.0), random)
    assert np.isnan(grazing[:20]).all() and np.isfinite(grazing[20:]).all()
    near = measured_depth(depth, None, DepthSensorOptions(minimum_m=1.5, maximum_m=2.5), random)
    assert np.isnan(near[:, 80:]).all() and np.isfinite(near[:, :80]).all()


def test_the_walk_is_closed_smooth_and_meets_nothing():
    for seed in range(12):
        scene = random_scene(seed)
        orbit = Orbit(scene, seed)
        eyes = np.array([orbit.pose(phase)[:3, 3] for phase in np.linspace(0, 1, 61)])
        assert np.allclose(orbit.pose(0.0), orbit.pose(1.0), atol=1e-9)
        steps = np.linalg.norm(np.diff(eyes, axis=0), axis=1)
        assert steps.max() < 2.5 * steps.min()
        half = np.array(scene.room.size_m[:2]) / 2
        assert (np.abs(eyes[:, :2]) < half - 0.3).all()
        for thing in scene.objects:
            box = thing.box()
            local = (eyes - box.world_from_box[:3, 3]) @ box.world_from_box[:3, :3]
            gap = np.linalg.norm(np.maximum(np.abs(local) - box.size_m / 2, 0), axis=1)
            assert gap.min() > 0.1, (seed, thing.name)


def test_objects_stand_apart_on_what_carries_them():
    for seed in range(12):
        scene = random_scene(seed, SceneOptions(objects=15))
        movable = [thing for thing in scene.objects if thing.category in TABLETOP]
        assert len(movable) > 6
        for thing in movable:
            assert thing.bounds_m()[0][2] == pytest.approx(0.0, abs=1e-6), thing.name
        for a, b in itertools.combinations(movable, 2):
            if a.surface_z_m == b.surface_z_m:
                low_a, high_a = a.bounds_m()
                low_b, high_b = b.bounds_m()
                gap = np.hypot(*(a.world_from_object[:2, 3] - b.world_from_object[:2, 3]))
                # Their footprints' inner circles never overlap.
                inner = min(*high_a[:2], *-low_a[:2]) + min(*high_b[:2], *-low_b[:2])
                assert gap > inner, (a.name, b.name)


def test_options_choose_and_exclude_what_is_drawn():
    options = SceneOptions(
        objects=20, categories=("mug", "ball"), colors=("red", "blue"),
        excluded=("red mug", "striped", "small blue ball"),
    )  # fmt: skip
    things = [t for seed in range(8) for t in random_scene(seed, options).objects]
    assert {t.category for t in things if t.category in TABLETOP} == {"mug", "ball"}
    assert {t.color for t in things} == {"red", "blue"}
    assert not any(t.material == "striped" for t in things)
    assert not any(t.category == "mug" and t.color == "red" for t in things)
    assert not any(t.name.startswith("small blue") and t.category == "ball" for t in things)
    assert any(t.category == "mug" and t.color == "blue" for t in things)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (SceneOptions(categories=("teapot",)), "'categories' has unknown names .'teapot'."),
        (SceneOptions(colors=()), "'colors' is empty; choose from red"),
        (SceneOptions(excluded=("crimson mug",)), "unknown words .'crimson'."),
        (SceneOptions(excluded=tuple(COLORS)), "leave no colour and material for 'table'"),
    ],
)
def test_contradictory_options_are_refused_with_what_is_known(options, text):
    with pytest.raises(SourceError, match=text):
        random_scene(0, options)


def test_every_parameter_is_declared_and_can_be_set_by_its_dotted_name():
    declared = {p.name for p in parameters(SourceConfiguration)}
    assert {"source", "rendered.scene.objects", "rendered.sensor.noise", "recording.folder",
            "recording.color.intrinsics_px", "realsense.serial"} <= declared  # fmt: skip
    configuration = build(SourceConfiguration, {"rendered.seed": 3, "rendered.sensor.noise": 0.5})
    assert configuration.rendered.seed == 3 and configuration.rendered.sensor.noise == 0.5
