"""QoS profiles by the names that users write into parameter files.

Best-effort inputs accept both kinds of publisher and reliable outputs serve both kinds of
subscriber, so these are the defaults; topics that are published once are transient local.
"""

from __future__ import annotations

from rcl_interfaces.msg import SetParametersResult
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

# Name -> (reliability, durability, depth unless given).
_PROFILES = {
    "sensor_data": (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 5),
    "best_effort": (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 1),
    "reliable": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 5),
    "transient_local": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1),
}

QOS_NAMES = tuple(_PROFILES)
INPUT_QOS = "sensor_data"
OUTPUT_QOS = "reliable"
LATCHED_QOS = "transient_local"


class QosError(ValueError):
    """A QoS name or depth that does not exist; the text names the allowed ones."""


def qos_profile(name: str, depth: int | None = None) -> QoSProfile:
    """Return a new profile; rclpy changes it when the user overrides it, so it is never shared.

    Args:
        name: "sensor_data" (best effort, depth 5), "best_effort" (depth 1), "reliable" (depth 5) or
            "transient_local" (reliable, the last message for late subscribers, depth 1). Upper
            case and hyphens are accepted.
        depth: messages kept; None takes the depth of the name.

    Raises:
        QosError: unknown name, or depth below 1.
    """
    key = name.strip().lower().replace("-", "_")
    if key not in _PROFILES:
        raise QosError(f"QoS '{name}' is unknown; allowed: {', '.join(QOS_NAMES)}")
    reliability, durability, usual_depth = _PROFILES[key]
    if depth is not None and depth < 1:
        raise QosError(f"QoS depth is {depth}; it must be 1 or more messages")
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth or usual_depth,
        reliability=reliability,
        durability=durability,
    )


def overriding_options(entity_id: str | None = None) -> QoSOverridingOptions:
    """Let users override a topic's QoS by ``qos_overrides.<topic>.<publisher|subscription>.*``.

    History, depth, reliability and durability can be overridden; keep-last with a depth below 1 is
    refused when the publisher or subscription is created.

    Args:
        entity_id: tells several publishers or subscriptions of one topic apart.
    """
    return QoSOverridingOptions(
        policy_kinds=(
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        ),
        callback=_validate,
        entity_id=entity_id,
    )


def _validate(profile: QoSProfile) -> SetParametersResult:
    if profile.history == HistoryPolicy.KEEP_LAST and profile.depth < 1:
        reason = f"depth is {profile.depth}; keep_last needs 1 or more messages"
        return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True, reason="")
