"""The streaming window: same numbers as the whole model, less work, bounded memory."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from omnivggt_models import cameras, depth, random_images, rotation, small_model

from sensorium.geometry import omnivggt_memory
from sensorium.geometry.omnivggt_memory import activation_bytes, weight_bytes
from sensorium.geometry.omnivggt_window import (
    GeometryMemoryError,
    OmniVGGTWindow,
    WindowConfiguration,
    WindowView,
)

SIZE = (28, 42)
EVERY_VIEW = WindowConfiguration(capacity=3, keyframe_parallax=0.0)


@pytest.fixture(scope="module")
def model():
    return small_model()


def _views(count, *, posed=(), sensed=(), names=("wrist",)):
    images = random_images(count)[0]
    camera_from_world, intrinsics = cameras(count)
    metres, mask = depth(count)
    views = []
    for i in range(count):
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3] = camera_from_world[0, i]
        views.append(
            WindowView(
                camera_name=names[i % len(names)],
                stamp_ns=i,
                image=images[i],
                intrinsics=intrinsics[0, i] if i in posed else None,
                world_from_camera=torch.linalg.inv(pose) if i in posed else None,
                depth_m=metres[0, i, ..., 0] if i in sensed else None,
                mask=mask[0, i] if i in sensed else None,
            )
        )
    return views


def _at(x, yaw_rad):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation((0, 1, 0), yaw_rad)
    pose[0, 3] = x
    return pose


def _full(model, views, camera_views, depth_views):
    """One call of the whole model on the views of a window."""
    zeros = torch.zeros(SIZE)
    eye = torch.eye(4, dtype=torch.float64)
    poses = [eye if v.world_from_camera is None else v.world_from_camera for v in views]
    with torch.no_grad():
        return model(
            torch.stack([v.image for v in views])[None],
            extrinsics=torch.linalg.inv(torch.stack(poses))[None, :, :3],
            intrinsics=torch.stack(
                [torch.eye(3) if v.intrinsics is None else v.intrinsics for v in views]
            )[None],
            depth=torch.stack([zeros if v.depth_m is None else v.depth_m for v in views])[
                None, ..., None
            ],
            mask=torch.stack([zeros if v.mask is None else v.mask.float() for v in views])[None],
            camera_views=camera_views,
            depth_views=depth_views,
        )


@pytest.mark.parametrize(
    ("posed", "sensed"),
    [((), ()), (range(6), range(6)), ((0, 1, 2, 4, 5), (1, 2, 5))],
    ids=["images_only", "everything", "inputs_that_come_and_go"],
)
def test_streaming_equals_the_whole_model_on_every_window(model, posed, sensed):
    configuration = WindowConfiguration(
        capacity=3, keyframe_parallax=0.0, camera_hint=True, all_views=True, with_points=True
    )
    window = OmniVGGTWindow(model, SIZE, configuration)
    for index, view in enumerate(_views(6, posed=posed, sensed=sensed)):
        streamed = window.add(view)
        assert [v.stamp_ns for v in streamed.views] == list(range(max(0, index - 2), index + 1))
        whole = _full(model, streamed.views, streamed.camera_views, streamed.depth_views)
        for got, wanted in (
            (streamed.pose_encoding, whole["pose_enc"][0]),
            (streamed.depth, whole["depth"][0, ..., 0]),
            (streamed.depth_confidence, whole["depth_conf"][0]),
            (streamed.points, whole["world_points"][0]),
            (streamed.points_confidence, whole["world_points_conf"][0]),
        ):
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_only_the_new_view_is_encoded_and_predicted(model):
    encoded = []
    hook = model.aggregator.patch_embed.register_forward_hook(
        lambda _module, inputs, _output: encoded.append(len(inputs[0]))
    )
    dense = []
    depth_hook = model.depth_head.register_forward_hook(
        lambda _module, _inputs, output: dense.append(len(output))
    )
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)
    for view in _views(5):
        prediction = window.add(view)
    hook.remove()
    depth_hook.remove()
    assert encoded == [1] * 5
    assert dense == [1] * 5
    assert prediction.predicted_views == (2,)
    assert prediction.depth.shape == (1, *SIZE)
    assert prediction.tokens.shape == (2, 3, 64)
    assert prediction.points is None


def test_tokens_are_the_last_layer_of_the_newest_view(model):
    views = _views(2)
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)
    prediction = [window.add(view) for view in views][-1]
    images = torch.stack([view.image for view in views])[None]
    with torch.no_grad():
        last = model.aggregate(model.encode_images(images), SIZE)[3].join()
    wanted = last[0, 1, model.config.patch_start :].view(2, 3, -1)
    torch.testing.assert_close(prediction.tokens, wanted, atol=1e-5, rtol=1e-5)


def test_a_view_too_close_to_the_last_keyframe_makes_room_for_the_next(model):
    still = WindowConfiguration(capacity=3, keyframe_parallax=1e9, keyframe_rotation_rad=4.0)
    window = OmniVGGTWindow(model, SIZE, still)
    stamps = [[v.stamp_ns for v in window.add(view).views] for view in _views(5)]
    assert stamps == [[0], [0, 1], [0, 2], [0, 3], [0, 4]]


@pytest.mark.parametrize(
    ("pose", "kept"),
    [
        (torch.eye(4, dtype=torch.float64), False),
        (_at(0.0, 0.3), True),  # 0.3 rad of 0.2 allowed
        (_at(0.0, 0.1), False),
        (_at(0.2, 0.0), True),  # 0.2 m at 2 m is 0.1, allowed 0.08
        (_at(0.1, 0.0), False),
    ],
)
def test_given_poses_and_depth_decide_on_keyframes_where_they_are_known(model, pose, kept):
    # The model of random weights sees other motion in every pair of images.
    configuration = WindowConfiguration(
        capacity=4, keyframe_rotation_rad=0.2, keyframe_parallax=0.08
    )
    window = OmniVGGTWindow(model, SIZE, configuration)
    wall = torch.full(SIZE, 2.0)
    poses = (torch.eye(4, dtype=torch.float64), pose, pose)
    views = [
        dataclasses.replace(view, world_from_camera=given, depth_m=wall)
        for view, given in zip(_views(3), poses, strict=True)
    ]
    stamps = [[v.stamp_ns for v in window.add(view).views] for view in views]
    assert stamps[-1] == ([0, 1, 2] if kept else [0, 2])


def test_each_camera_keeps_a_keyframe_of_its_own(model):
    still = WindowConfiguration(capacity=4, keyframe_parallax=1e9, keyframe_rotation_rad=4.0)
    window = OmniVGGTWindow(model, SIZE, still)
    views = _views(6, names=("wrist", "scene"))
    prediction = [window.add(view) for view in views][-1]
    assert [(v.camera_name, v.stamp_ns) for v in prediction.views] == [
        ("wrist", 0),
        ("scene", 1),
        ("scene", 5),
    ]


def test_a_window_of_one_view_works(model):
    window = OmniVGGTWindow(model, SIZE, WindowConfiguration(capacity=1))
    predictions = [window.add(view) for view in _views(3)]
    assert [len(p.views) for p in predictions] == [1, 1, 1]


def test_cameras_are_fed_up_to_the_first_view_without_one(model):
    configuration = WindowConfiguration(capacity=4, keyframe_parallax=0.0, camera_hint=True)
    window = OmniVGGTWindow(model, SIZE, configuration)
    prediction = [window.add(view) for view in _views(4, posed=(0, 1, 3))][-1]
    assert prediction.camera_views == (0, 1)


def test_cameras_of_a_standing_robot_are_left_out_with_the_reason(model):
    configuration = WindowConfiguration(capacity=2, keyframe_parallax=0.0, camera_hint=True)
    window = OmniVGGTWindow(model, SIZE, configuration)
    first, second = _views(2, posed=(0, 1))
    jitter = first.world_from_camera.clone()
    jitter[0, 3] += 1e-5
    window.add(first)
    prediction = window.add(
        WindowView("wrist", 1, second.image, first.intrinsics, world_from_camera=jitter)
    )
    assert prediction.camera_views == ()
    assert "0.0000 m apart on average, below 0.05 m" in prediction.left_out


def test_hints_that_are_switched_off_are_not_fed(model):
    configuration = WindowConfiguration(capacity=2, depth_hint=False)
    view = _views(1, posed=(0,), sensed=(0,))[0]
    prediction = OmniVGGTWindow(model, SIZE, configuration).add(view)
    assert (prediction.camera_views, prediction.depth_views) == ((), ())


def test_a_window_that_does_not_fit_the_budget_is_refused_with_what_would(model):
    def bytes_of(views):
        activations = activation_bytes(
            model.config, SIZE, views=views, dense_views=1, with_points=False
        )
        return weight_bytes(model) + activations

    budget = bytes_of(5)
    OmniVGGTWindow(model, SIZE, WindowConfiguration(capacity=5, budget_bytes=budget))
    with pytest.raises(ValueError, match="lower the capacity to 5 or the image size"):
        OmniVGGTWindow(model, SIZE, WindowConfiguration(capacity=6, budget_bytes=budget))
    with pytest.raises(ValueError, match="no capacity fits"):
        OmniVGGTWindow(model, SIZE, WindowConfiguration(budget_bytes=1))


def test_running_out_of_memory_is_an_error_of_its_own_and_empties_the_window(model, monkeypatch):
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)
    views = _views(3)
    window.add(views[0])

    def full(*_arguments, **_keywords):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
        )

    with monkeypatch.context() as patch:
        patch.setattr(model.aggregator, "forward", full)
        with pytest.raises(GeometryMemoryError, match="lower capacity or image size"):
            window.add(views[1])
    assert [v.stamp_ns for v in window.add(views[2]).views] == [2]


def test_other_runtime_errors_are_not_called_memory_errors(model, monkeypatch):
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)

    def broken(*_arguments, **_keywords):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(model.aggregator, "forward", broken)
    with pytest.raises(RuntimeError, match="shape mismatch") as caught:
        window.add(_views(1)[0])
    assert not isinstance(caught.value, GeometryMemoryError)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image": torch.zeros(3, 28, 28)}, "another window"),
        ({"image": torch.zeros(3, 28, 42, dtype=torch.uint8)}, "floating point"),
        ({"depth_m": torch.zeros(14, 42)}, "one value per pixel"),
        ({"depth_m": torch.full(SIZE, float("nan"))}, "set such pixels to 0"),
    ],
)
def test_a_view_that_does_not_fit_is_refused_and_the_window_stays(model, change, text):
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)
    first, second = _views(2)
    window.add(first)
    with pytest.raises(ValueError, match=text):
        window.add(
            WindowView(**({"camera_name": "w", "stamp_ns": 9, "image": second.image} | change))
        )
    assert len(window.add(second).views) == 2


def test_warming_up_leaves_no_views(model):
    window = OmniVGGTWindow(model, SIZE, EVERY_VIEW)
    window.warm_up()
    assert len(window.add(_views(1)[0]).views) == 1


def test_the_peak_of_this_process_is_reported():
    assert omnivggt_memory.peak_bytes(torch.device("cpu")) > 10_000_000
