"""Tokens of the geometry node as one vector: what training saw, and nothing of other weights."""

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import TokensInfo

from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.contract import Contract, General, JointStates, JointTargets, PooledTokens
from sensorium.policy.features import FeatureRefused
from sensorium.policy.observations import Observation
from sensorium.ros.convert.pointcloud import cloud_from_points
from sensorium.ros.policy_observer import PolicyObserver

SHA = "3" * 64
ENTRY = PooledTokens(topic="tokens", weights_sha256=SHA, rows=2, columns=3, channels=4)
NOW_NS = 5_000_000_000


def observer(entry=ENTRY):
    contract = Contract(
        General(), JointStates(), {}, {}, {}, {GEOMETRY_GLOBAL: entry}, {},
        JointTargets(joints=("a",)),
    )  # fmt: skip
    return PolicyObserver(contract, contract.shapes, None, lambda: NOW_NS)


def message(features):
    # No token has depth: their features count all the same, and no transform is needed.
    xyz_m = np.full((2, 3, 3), np.nan, np.float32)
    return cloud_from_points(xyz_m, NOW_NS, "camera_unscaled", features=features)


def info(**changes):
    values = {"backend": "omnivggt", "weights_sha256": SHA, "rows": 2, "columns": 3, "channels": 4}
    return TokensInfo(**(values | changes))


FEATURES = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_tokens_of_a_message_become_one_vector(pooling):
    entry = PooledTokens("tokens", weights_sha256=SHA, rows=2, columns=3, channels=4,
                         pooling=pooling)  # fmt: skip
    watching = observer(entry)
    (source,) = watching.topics
    assert (source.message_type, source.names) == (PointCloud2, (GEOMETRY_GLOBAL,))
    assert watching.layout_topics == {"tokens": "tokens_info"}
    with pytest.raises(FeatureRefused, match="no TokensInfo"):
        watching.take(source, message(FEATURES), NOW_NS)
    watching.note_layout("tokens", info())
    watching.take(source, message(FEATURES), NOW_NS)
    found = watching.observe()
    assert isinstance(found, Observation)
    expected = getattr(FEATURES.reshape(6, 4), pooling)(axis=0)
    np.testing.assert_allclose(found.features[GEOMETRY_GLOBAL], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "sensor"},
        {"weights_sha256": "4" * 64},
        {"rows": 3},
        {"channels": 8},
        {"window_views": 4},
        {"hints": ["depth"]},
    ],
)
def test_tokens_of_anything_else_are_refused_by_name(change):
    watching = observer()
    watching.note_layout("tokens", info(**change))
    with pytest.raises(FeatureRefused, match=f"{next(iter(change))} .*the policy was trained on"):
        watching.take(watching.topics[0], message(FEATURES), NOW_NS)


def test_tokens_that_are_not_what_their_info_says_or_not_finite_are_refused():
    watching = observer()
    watching.note_layout("tokens", info())
    with pytest.raises(FeatureRefused, match=r"\(2, 3, 3\), not \(2, 3, 4\)"):
        watching.take(watching.topics[0], message(FEATURES[..., :3]), NOW_NS)
    spoilt = FEATURES.copy()
    spoilt[0, 0, 0] = np.nan
    with pytest.raises(FeatureRefused, match="not finite"):
        watching.take(watching.topics[0], message(spoilt), NOW_NS)
