"""The network of the policy `geo`: what geometry may and may not change."""

import math

import numpy as np
import pytest
import torch
from geo_policies import COUNT, FEATURES, GLOBAL, POINTS, ROWS, VALID, batch, network

from sensorium.models.policy.geo.geometry import PointNet
from sensorium.models.policy.geo.reading import attention_weights, offset_code, patches


def test_an_empty_bank_changes_nothing_at_all():
    net = network()
    empty = batch()
    empty[VALID] = torch.zeros_like(empty[VALID])
    empty[POINTS] = torch.full_like(empty[POINTS], torch.nan)
    empty[FEATURES] = torch.full_like(empty[FEATURES], torch.inf)
    without = network()
    torch.nn.init.zeros_(without.bank.inject.weight)
    assert torch.equal(net.predict(empty).motion, without.predict(batch()).motion)
    assert torch.equal(net.predict(empty).gripper, without.predict(batch()).gripper)


def test_no_weight_on_the_way_from_the_bank_to_the_action_is_a_bias():
    net = network()
    assert net.bank.inject.bias is None
    assert {name for name, _ in net.bank.attention.named_parameters()} == {
        "query.weight", "query.bias", "value",
    }  # fmt: skip


def test_valid_tokens_change_the_action():
    net, given = network(), batch()
    moved = dict(given)
    moved[POINTS] = given[POINTS] + 0.05
    assert not torch.allclose(net.predict(given).motion, net.predict(moved).motion)


def test_what_invalid_tokens_hold_does_not_matter():
    net, given = network(), batch()
    changed = dict(given)
    absent = given[VALID][..., None] == 0
    changed[POINTS] = torch.where(absent, 7.0, given[POINTS])
    changed[FEATURES] = torch.where(absent, torch.nan, given[FEATURES])
    assert torch.equal(net.predict(given).motion, net.predict(changed).motion)


def test_attention_is_a_softmax_over_the_valid_places():
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, 2, 5)).astype(np.float32)
    valid = np.array([[1, 0, 1, 1, 0]], np.float32)
    weights = attention_weights(torch.from_numpy(logits), torch.from_numpy(valid)).numpy()
    share = np.exp(logits) * valid[:, None]
    np.testing.assert_allclose(weights, share / share.sum(-1, keepdims=True), rtol=1e-5)
    assert not attention_weights(torch.from_numpy(logits), torch.zeros(1, 5)).any()


def test_the_offset_code_holds_the_offset_and_its_waves():
    code = offset_code(torch.tensor([[0.03, 0.0, -0.06]]))[0].numpy()
    np.testing.assert_allclose(code[:3], [0.3, 0.0, -0.6], rtol=1e-6)
    lengths = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
    for axis, offset in enumerate((0.03, 0.0, -0.06)):
        sines = [math.sin(2 * math.pi * offset / length) for length in lengths]
        cosines = [math.cos(2 * math.pi * offset / length) for length in lengths]
        np.testing.assert_allclose(code[3 + 6 * axis : 9 + 6 * axis], sines, atol=1e-5)
        np.testing.assert_allclose(code[21 + 6 * axis : 27 + 6 * axis], cosines, atol=1e-5)


def test_patches_are_the_pixels_of_the_tokens_in_row_major_order():
    image = torch.arange(3 * 6 * 6).reshape(1, 3, 6, 6)
    cut = patches(image, 2)
    assert cut.shape == (1, 9, 12)
    expected = image[0, :, 2:4, 4:6].permute(1, 2, 0).flatten()
    assert torch.equal(cut[0, 5], expected)


@pytest.mark.parametrize("geometry", ["pooled", "point_cloud"])
def test_the_injector_adds_nothing_before_training_and_geometry_after(geometry):
    net, given = network(geometry), batch(geometry)
    moved = dict(given)
    name = GLOBAL if geometry == "pooled" else POINTS
    moved[name] = given[name] * 0.5
    assert torch.equal(net.predict(given).motion, net.predict(moved).motion)
    torch.nn.init.normal_(net.injector.layers[-1].weight)
    assert not torch.allclose(net.predict(given).motion, net.predict(moved).motion)


def test_the_point_net_equals_its_formula_point_by_point():
    torch.manual_seed(3)
    net = PointNet(8, 16, 2)
    points, valid = torch.randn(3, 12, 3), (torch.rand(3, 12) > 0.4).float()
    valid[2] = 0.0
    made = net(points, valid)
    for cloud in (0, 1):
        x = net.enter(points[cloud][valid[cloud] > 0]).relu()
        stages = []
        for local, joint in zip(net.local, net.joint, strict=True):
            x = local(x).relu()
            whole = x.amax(0).expand_as(x)
            x = joint(torch.cat((x, whole), dim=1)).relu()
            stages.append(x.amax(0))
        torch.testing.assert_close(made[cloud], net.leave(torch.cat(stages)))
    assert torch.equal(made[2], torch.zeros(8))


def test_the_point_cloud_head_ignores_order_and_far_points():
    net, given = network("point_cloud"), batch("point_cloud")
    torch.nn.init.normal_(net.injector.layers[-1].weight)
    order = torch.randperm(COUNT)
    shuffled = {**given, POINTS: given[POINTS][:, order], VALID: given[VALID][:, order]}
    torch.testing.assert_close(net.predict(given).motion, net.predict(shuffled).motion)
    far, near_only = dict(given), dict(given)
    far[POINTS] = given[POINTS].clone()
    far[POINTS][:, 0] = 50.0
    near_only[VALID] = given[VALID].clone()
    near_only[VALID][:, 0] = 0.0
    torch.testing.assert_close(net.predict(far).motion, net.predict(near_only).motion)


def test_signal_scores_are_an_input_like_the_state():
    net, given = network(signals=3), batch(signals=3)
    other = {**given, "observation.signals.grip": given["observation.signals.grip"] + 1.0}
    assert not torch.allclose(net.predict(given).motion, net.predict(other).motion)


def test_another_instruction_gives_another_action():
    from sensorium.models.policy.geo.words import WordTable

    net, given = network(), batch()
    words, mask = WordTable().encode("put the blue cube on the tray", 16)
    other = {
        **given,
        "task.words": words.expand(2, -1, -1),
        "task.mask": mask.expand(2, -1),
    }
    assert not torch.allclose(net.predict(given).motion, net.predict(other).motion)


def test_the_gripper_is_open_or_closed_and_the_chunk_has_the_asked_size():
    chunk = network().forward(batch(size=3))
    assert chunk.shape == (3, 8, 4)
    assert set(chunk[..., 3].flatten().tolist()) <= {-1.0, 1.0}


def test_the_picture_can_be_read_on_a_coarser_grid():
    prediction = network(picture_stride=2).predict(batch())
    assert prediction.picture_logits.shape == (2, 2, (ROWS // 2) ** 2)
    assert prediction.token_logits.shape == (2, 4, COUNT)
