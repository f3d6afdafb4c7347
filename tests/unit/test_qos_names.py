"""QoS by the names in parameter files."""

import pytest

pytest.importorskip("rclpy")

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, ReliabilityPolicy

from sensorium.ros.qos import (
    INPUT_QOS,
    LATCHED_QOS,
    OUTPUT_QOS,
    QOS_NAMES,
    QosError,
    overriding_options,
    qos_profile,
)


@pytest.mark.parametrize(
    ("name", "reliability", "durability", "depth"),
    [
        ("sensor_data", "BEST_EFFORT", "VOLATILE", 5),
        ("best_effort", "BEST_EFFORT", "VOLATILE", 1),
        ("reliable", "RELIABLE", "VOLATILE", 5),
        ("transient_local", "RELIABLE", "TRANSIENT_LOCAL", 1),
    ],
)
def test_a_name_means_its_profile(name, reliability, durability, depth):
    profile = qos_profile(name)
    assert profile.reliability == ReliabilityPolicy[reliability]
    assert profile.durability == DurabilityPolicy[durability]
    assert profile.depth == depth
    assert qos_profile(name, 17).depth == 17


def test_every_name_has_a_profile_and_defaults_suit_both_kinds_of_peer():
    assert {qos_profile(name).depth for name in QOS_NAMES}
    assert qos_profile(INPUT_QOS).reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_profile(OUTPUT_QOS).reliability == ReliabilityPolicy.RELIABLE
    assert qos_profile(LATCHED_QOS).durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_case_and_hyphens_do_not_matter():
    assert qos_profile(" SENSOR-DATA ") == qos_profile("sensor_data")


def test_an_unknown_name_is_refused_with_the_allowed_ones():
    with pytest.raises(QosError, match=r"'fast' is unknown; allowed: sensor_data, best_effort"):
        qos_profile("fast")


@pytest.mark.parametrize("depth", [0, -3])
def test_a_depth_without_messages_is_refused(depth):
    with pytest.raises(QosError, match=f"depth is {depth}"):
        qos_profile("reliable", depth)


def test_profiles_are_not_shared():
    first = qos_profile("reliable")
    first.depth = 99
    assert qos_profile("reliable").depth == 5


def test_users_may_override_what_matters_and_depth_0_is_refused():
    options = overriding_options("left")
    assert options.entity_id == "left"
    assert set(options.policy_kinds) == {
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    }
    profile = qos_profile("reliable")
    assert options.callback(profile).successful
    profile.depth = 0
    result = options.callback(profile)
    assert not result.successful
    assert "depth is 0" in result.reason
