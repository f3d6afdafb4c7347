"""Reads a contract from YAML: typed and strict.

An unknown key is refused with the allowed ones, so that a misspelt limit is never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sensorium.configuration import ConfigurationError, build
from sensorium.policy.contract import (
    PICTURE_TYPES,
    QUANTITIES,
    TIP_POSITION,
    Contract,
    ContractError,
    General,
    JointStates,
    JointTargets,
    Picture,
    PooledTokens,
    SignalScores,
    StateVector,
    TipTargets,
    TokenBank,
)

__all__ = ["read_contract"]

_SECTIONS = ("general", "joint_states", "observations", "action")

T = TypeVar("T")


def read_contract(path: Path) -> Contract:
    """Reads a contract from YAML.

    Raises:
        ContractError: The file cannot be read, a section or key is unknown or missing, or a value
            is refused; the text names the entry and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ContractError(f"cannot read contract {path}: {error}") from error
    try:
        return _contract(content)
    except ConfigurationError as error:
        raise ContractError(f"contract {path}: {error}") from error


def _contract(content: Any) -> Contract:  # noqa: ANN401 - any YAML
    sections = _mapping(content, "the file")
    _refuse_unknown(sections, _SECTIONS, "section")
    pictures: dict[str, Picture] = {}
    states: dict[str, StateVector] = {}
    tokens: dict[str, TokenBank] = {}
    pooled: dict[str, PooledTokens] = {}
    signals: dict[str, SignalScores] = {}
    for name, value in _mapping(sections.get("observations"), "observations").items():
        entry = _mapping(value, f"observations.{name}")
        kind = entry.get("type")
        if kind in PICTURE_TYPES:
            pictures[name] = _picture(name, entry)
        elif kind == "joint_state":
            states[name] = _state(name, entry)
        elif kind == "tokens":
            tokens[name] = _section(TokenBank, entry, name)
        elif kind == "pooled_tokens":
            pooled[name] = _pooled(name, entry)
        elif kind == "signal_estimate":
            signals[name] = _signal(name, entry)
        else:
            others = ("joint_state", "tokens", "pooled_tokens", "signal_estimate")
            allowed = ", ".join((*PICTURE_TYPES, *others))
            raise ConfigurationError(f"{name}: type is {kind!r}; allowed are {allowed}")
    contract = Contract(
        general=_section(General, sections.get("general", {}), "general"),
        joint_states=_section(JointStates, sections.get("joint_states", {}), "joint_states"),
        pictures=pictures,
        states=states,
        tokens=tokens,
        pooled=pooled,
        signals=signals,
        action=_action(_mapping(sections.get("action"), "action")),
    )
    if contract.needs_kinematics and not contract.general.tip_link:
        raise ConfigurationError("general: tip_link is empty, but tip positions are used; name it")
    return contract


def _picture(name: str, entry: dict[str, Any]) -> Picture:
    picture = _section(Picture, entry, name)
    if not picture.topic or len(picture.size_px) not in (0, 2):
        raise ConfigurationError(
            f"{name}: topic is '{picture.topic}' and size_px {list(picture.size_px)}; give a topic "
            "and no size or [height, width]"
        )
    return picture


def _state(name: str, entry: dict[str, Any]) -> StateVector:
    state = _section(StateVector, entry, name)
    for item in state.select:
        quantity, _, joint = item.partition(".")
        if item != TIP_POSITION and (quantity not in QUANTITIES or not joint):
            raise ConfigurationError(
                f"{name}: select has '{item}'; allowed are {TIP_POSITION}, "
                f"{', '.join(f'{quantity}.JOINT' for quantity in QUANTITIES)}"
            )
    if not state.select:
        raise ConfigurationError(f"{name}: select is empty; name what the vector holds, in order")
    return state


def _pooled(name: str, entry: dict[str, Any]) -> PooledTokens:
    pooled = _section(PooledTokens, entry, name)
    if not pooled.weights_sha256:
        raise ConfigurationError(
            f"{name}: weights_sha256 is empty; write that of the training (`pooled_tokens` in the "
            "policy's config.json), so that tokens of other weights are refused"
        )
    return pooled


def _signal(name: str, entry: dict[str, Any]) -> SignalScores:
    signal = _section(SignalScores, entry, name)
    if not signal.topic or not signal.classes:
        raise ConfigurationError(f"{name}: give its topic and its classes in order")
    return signal


def _action(entry: dict[str, Any]) -> JointTargets | TipTargets:
    kind = entry.get("type")
    if kind == "joint_positions":
        action: JointTargets | TipTargets = _section(JointTargets, entry, "action")
    elif kind == "tip_targets":
        action = _section(TipTargets, entry, "action")
    else:
        raise ConfigurationError(
            f"action: type is {kind!r}; allowed are joint_positions, tip_targets"
        )
    if not action.joints or len(set(action.joints)) != len(action.joints):
        raise ConfigurationError(f"action: joints are {list(action.joints)}; name each once")
    if isinstance(action, TipTargets):
        sizes = len(action.quaternion_xyzw), len(action.posture_rad)
        if sizes[0] not in (0, 4) or sizes[1] not in (0, len(action.joints)):
            raise ConfigurationError(
                f"action: quaternion_xyzw has {sizes[0]} and posture_rad {sizes[1]} numbers; give "
                "0 or 4, and 0 or one per joint"
            )
    return action


def _section(kind: type[T], values: object, where: str) -> T:
    try:
        return build(kind, _mapping(values, where))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(f"{where} is {value!r}; it must be a mapping of names to values")
    return value


def _refuse_unknown(values: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigurationError(
            f"{what} '{unknown[0]}' is unknown; allowed are {', '.join(known)}"
        )
