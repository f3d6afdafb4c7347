"""Parts of the model against closed formulas."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from omnivggt_models import rotation

from sensorium.models.omnivggt.dpt_head import ResidualConvUnit, _uv_tables, activate_points
from sensorium.models.omnivggt.layers import Block
from sensorium.models.omnivggt.pose_encoding import (
    decode_cameras,
    encode_cameras,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from sensorium.models.omnivggt.rope import rotary_table, rotate

AXES = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, -2, 0.5), (-0.3, 0.2, -1)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("angle", [0.0, 1e-4, 1.0, 2.5, 3.1, math.pi])
def test_quaternions_are_half_angle_axis_with_the_scalar_last(axis, angle):
    unit = torch.tensor(axis, dtype=torch.float64) / math.dist(axis, (0, 0, 0))
    wanted = torch.cat([math.sin(angle / 2) * unit, unit.new_full((1,), math.cos(angle / 2))])
    quaternion = quaternion_from_rotation(rotation(axis, angle))
    assert quaternion[3] >= 0
    same = min(float((quaternion - wanted).abs().max()), float((quaternion + wanted).abs().max()))
    assert same < 1e-9
    assert angle > 3.14 or float((quaternion - wanted).abs().max()) < 1e-9


def test_a_quaternion_of_any_length_gives_the_same_rotation():
    wanted = rotation((0.2, 1, -0.4), 2.2)
    quaternion = quaternion_from_rotation(wanted)
    torch.testing.assert_close(rotation_from_quaternion(-3.7 * quaternion), wanted)


def test_the_field_of_view_is_vertical_first():
    camera = torch.eye(4, dtype=torch.float64)[None, :3]
    encoding = encode_cameras(camera, torch.tensor([[100.0, 200.0]]).double(), (400, 200))
    # Half angles: vertical atan(200 / 200), horizontal atan(100 / 100).
    torch.testing.assert_close(encoding[0, 7:], torch.full((2,), math.pi / 2).double())
    taller = encode_cameras(camera, torch.tensor([[100.0, 100.0]]).double(), (400, 200))
    assert taller[0, 7] > taller[0, 8]


def test_cameras_survive_encoding_and_the_centre_is_put_in_the_middle():
    camera = torch.cat([rotation((1, 2, 3), 1.2), torch.tensor([[0.5], [-1], [2]])], dim=1)[None]
    encoding = encode_cameras(camera, torch.tensor([[310.0, 305.0]]).double(), (294, 392))
    decoded, intrinsics = decode_cameras(encoding, (294, 392))
    torch.testing.assert_close(decoded, camera)
    wanted = torch.tensor([[310.0, 0, 196], [0, 305, 147], [0, 0, 1]]).double()
    torch.testing.assert_close(intrinsics[0], wanted)


def test_a_predicted_field_of_view_of_zero_stays_finite():
    encoding = torch.tensor([[0.0, 0, 0, 0, 0, 0, 1, 0, 0]])
    _, intrinsics = decode_cameras(encoding, (294, 392))
    assert bool(intrinsics.isfinite().all())


def test_rotary_embedding_turns_pairs_by_row_and_column():
    grid, special, head_dim = (2, 3), 5, 16
    table = rotary_table(
        grid, special, head_dim=head_dim, base=100.0,
        device=torch.device("cpu"), dtype=torch.float64,
    )  # fmt: skip
    x = torch.randn(1, 2, special + 6, head_dim, generator=torch.Generator().manual_seed(0))
    turned = rotate(x.double(), table)
    for token in range(special + 6):
        patch = token - special
        position = (0, 0) if patch < 0 else (patch // 3 + 1, patch % 3 + 1)
        for axis in (0, 1):
            for k in range(4):
                first = axis * 8 + k
                angle = position[axis] * 100 ** (-2 * k / 8)
                for head in (0, 1):
                    z = complex(x[0, head, token, first], x[0, head, token, first + 4])
                    wanted = z * cmath.exp(1j * angle)
                    got = complex(turned[0, head, token, first], turned[0, head, token, first + 4])
                    assert abs(got - wanted) < 1e-6


def test_global_attention_equals_softmax_over_all_tokens_of_all_views():
    torch.manual_seed(0)
    block = Block(16, 2, 4, init_values=1.0, norm_eps=1e-5, qk_norm=True).double().eval()
    x = torch.randn(6, 4, 16, dtype=torch.float64)
    with torch.no_grad():
        got = block(x, views_together=3)
        for group in (0, 1):
            tokens = x[3 * group : 3 * group + 3].reshape(1, 12, 16)
            attention = block.attn
            q, k, v = attention.qkv(block.norm1(tokens)).view(12, 3, 2, 8).unbind(1)
            q, k = attention.q_norm(q), attention.k_norm(k)
            score = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(8)
            mixed = torch.einsum("hqk,khd->qhd", score.softmax(-1), v).reshape(1, 12, 16)
            after = tokens + attention.proj(mixed)
            wanted = after + block.mlp(block.norm2(after))
            torch.testing.assert_close(got[3 * group : 3 * group + 3].view(1, 12, 16), wanted)


def test_the_skip_path_of_a_residual_unit_carries_the_rectified_input():
    unit = ResidualConvUnit(2)
    for parameter in unit.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.tensor([[-1.0, 2.0]]).view(1, 2, 1, 1)
    assert unit(x).flatten().tolist() == [0.0, 2.0]
    assert x.flatten().tolist() == [-1.0, 2.0]


def test_the_uv_embedding_is_sines_of_the_position_on_the_unit_diagonal():
    column, row = _uv_tables(8, (3, 4), 4 / 3, torch.device("cpu"), torch.float64)
    # Image 4:3 with half diagonal 1: half sides 0.8 and 0.6; outermost pixel centres inside.
    x = [-0.8 * 3 / 4 + i * 0.8 * 2 / 4 for i in range(4)]
    y = [-0.6 * 2 / 3 + i * 0.6 * 2 / 3 for i in range(3)]
    for table, positions in ((column[:, 0], x), (row[:, :, 0], y)):
        for index, position in enumerate(positions):
            wanted = [math.sin(position), math.sin(position / 10)]
            wanted += [math.cos(position), math.cos(position / 10)]
            got = table[:, index].tolist()
            assert got == pytest.approx([0.1 * value for value in wanted], abs=1e-7)


def test_points_grow_exponentially_with_either_sign():
    raw = torch.tensor([1.0, -2.0, 0.0, 0.5]).view(1, 4, 1, 1)
    points, confidence = activate_points(raw)
    wanted = [math.e - 1, 1 - math.exp(2), 0]
    assert points.flatten().tolist() == pytest.approx(wanted, rel=1e-6)
    assert float(confidence) == pytest.approx(1 + math.exp(0.5))
