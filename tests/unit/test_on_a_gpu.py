"""What runs on a GPU gives the CPU's results there: on a real one, else on a pretended one."""

import contextlib
import copy
import dataclasses

import numpy as np
import pytest
import torch
from pretend_gpu import pretend_gpu

from sensorium.device import chosen_device, multiplies_bfloat16
from sensorium.geometry.fusion import FusedMap, FusionConfiguration
from sensorium.geometry.omnivggt import OmniVGGTBackend
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.trust import PoseHintConfiguration
from sensorium.models.fcclip import FCCLIP_SMALL, load_checkpoint
from sensorium.models.policy import load_policy
from sensorium.policy.shipped import checkpoint_directory
from sensorium.segmentation.class_list import checked_class_list
from sensorium.segmentation.segmenter import Segmenter
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource
from sensorium.streaming import convert

HAS_GPU = torch.cuda.is_available()
# A real GPU adds in another order, and multiplies convolutions with 10 bits unless told otherwise.
TOLERANCE = 2e-2 if HAS_GPU else 1e-5


@pytest.fixture
def gpu():
    with contextlib.nullcontext() if HAS_GPU else pretend_gpu():
        yield "cuda"


@pytest.fixture(scope="module")
def frames():
    source = RenderedSource(RenderedConfiguration(seed=3, frames=3, width_px=160, height_px=120))
    read = []
    while not source.finished:
        if (one := source.read()) is not None:
            read.append(one.frame)
    return read


def assert_close(on_gpu, on_cpu):
    assert len(on_gpu) == len(on_cpu) > 0
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert type(ours) is type(theirs) is np.ndarray
        if ours.dtype.kind in "iub":
            assert (ours == theirs).mean() > (0.98 if HAS_GPU else 0.9999)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_auto_is_the_gpu(gpu):
    assert chosen_device("auto") == gpu


def test_a_gpu_without_bfloat16_computes_in_float32(gpu, monkeypatch):
    if not HAS_GPU:
        assert multiplies_bfloat16(torch.device(gpu))
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **named: asked.append(named) or False
    )
    assert not multiplies_bfloat16(torch.device(gpu))
    # Emulated, it would be slower than float32.
    assert asked == [{"including_emulation": False}]


def test_points_of_a_depth_camera(frames, gpu):
    def measured(device):
        backend = SensorBackend(SensorConfiguration(), device)
        result = [backend.add(frame).newest for frame in frames][-1]
        tokens = result.tokens
        return result.points_m, result.confidence, tokens.xyz_m, tokens.features

    assert_close(measured(gpu), measured("cpu"))


def test_the_fused_map(frames, gpu):
    def fused(device):
        fused_map = FusedMap(FusionConfiguration(), device)
        for frame in frames:
            camera = frame.depth_camera
            fused_map.integrate(frame.depth_m, camera, frame.world_from_camera, frame.color)
        points_m = fused_map.points().points_m
        return np.sort(points_m, axis=0), fused_map.signed_distance_m(points_m[:50].astype(float))

    on_gpu, on_cpu = fused(gpu), fused("cpu")
    assert abs(len(on_gpu[0]) - len(on_cpu[0])) <= 0.01 * len(on_cpu[0])
    if not HAS_GPU:
        assert_close(on_gpu, on_cpu)


@pytest.mark.parametrize(
    "values",
    [
        {"precision": "float32"},
        {"precision": "bfloat16"},
        {"point_head": True, "intrinsics_hint": True},
        {"pose_hint": PoseHintConfiguration(enabled=False)},
    ],
    ids=lambda values: next(iter(values)) + str(values.get("precision", "")),
)
@pytest.mark.parametrize("inputs", ["color and depth", "color", "depth"])
def test_omnivggt_with_what_there_is(frames, gpu, values, inputs):
    missing = {
        "color and depth": {},
        "color": {"depth_m": None, "depth_camera": None},
        "depth": {"color": None, "color_camera": None},
    }[inputs]
    settings = OmniVGGTConfiguration(**{"precision": "float32", **values})

    def predicted(device):
        backend = OmniVGGTBackend(settings, SensorConfiguration(), device)
        backend.configure()
        backend.warm_up(160, 120)
        given = [dataclasses.replace(frame, **missing) for frame in frames]
        result = [backend.add(frame).newest for frame in given][-1]
        features = [] if result.tokens is None else [result.tokens.features]
        return result.points_m, result.confidence, *features

    assert_close(predicted(gpu), predicted("cpu"))


def test_segments_and_texts(frames, gpu):
    def segmented(device):
        segmenter = Segmenter(load_checkpoint(FCCLIP_SMALL), device)
        names = ["table", "mug, cup", "ball", "wall", "floor"]
        segmenter.use(segmenter.encode(checked_class_list(names, ["mug, cup", "ball"], 5)))
        found = segmenter.segment(frames[0].color)
        return (
            found.segment_ids, found.confidence, found.embeddings, found.highest_scores,
            found.result.instances.masks.cpu().numpy(), segmenter.encode_texts(["red mug"]),
        )  # fmt: skip

    assert_close(segmented(gpu), segmented("cpu"))


@pytest.mark.parametrize("kind", ["geometry", "no_geometry"])
def test_actions_of_the_shipped_policies(gpu, kind):
    random = np.random.default_rng(0)

    def acted(device):
        policy = load_policy(checkpoint_directory(kind), device=device)
        policy.reset()
        return policy.predict_action_chunk(observation), policy.select_action(observation)

    observation = {"task": "put the red cube on the tray"}
    for name, feature in load_policy(checkpoint_directory(kind)).input_features.items():
        if "image" in name:
            shape = (*feature.shape[1:], 3)
            observation[name] = random.integers(0, 255, shape, np.uint8)
        else:
            observation[name] = random.random(feature.shape, np.float32)
    assert_close(acted(gpu), acted("cpu"))


@pytest.mark.parametrize("mode", ["exact_window", "stream"])
@pytest.mark.parametrize("recompute", ["never", "always", "auto"])
def test_a_streamed_network(gpu, mode, recompute):
    network = torch.nn.Sequential(
        torch.nn.Conv1d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool1d(2),
        torch.nn.Conv1d(8, 4, 3, padding=1), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    ).eval()  # fmt: skip
    signal = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, 256)).astype(np.float32))

    def streamed(device):
        stream = convert(
            copy.deepcopy(network).to(device), window=64, hop=16, channels=3, mode=mode,
            recompute=recompute, executor="torch",
        )  # fmt: skip
        return (stream.push(signal.to(device)).cpu().numpy(),)

    with torch.no_grad():
        assert_close(streamed(gpu), streamed("cpu"))


@pytest.mark.skipif(HAS_GPU, reason="there is a real GPU")
def test_a_pretended_gpu_refuses_what_a_gpu_refuses():
    with pretend_gpu() as device:
        there, here = torch.arange(3.0, device="cuda"), torch.arange(3.0)
        assert there.device == here.to("cuda").device == device
        assert there.is_cuda
        assert (there + here.cuda()).cpu().tolist() == [0, 2, 4]
        assert (there * torch.tensor(2.0))[here.long()].tolist() == [0, 2, 4]
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="indexed by one on the GPU"):
            here[there.long()]
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="numpy"):
            np.asarray(there)
    assert not torch.cuda.is_available()
