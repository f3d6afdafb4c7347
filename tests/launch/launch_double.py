"""Just enough of `launch` and `launch_ros` to evaluate our launch files on a machine without them.

It evaluates descriptions; it starts nothing. The real `ros2 launch` runs outside this repository
before a release (docs/installation.md).
"""

import sys
import types


class Recorded:
    """An action or substitution that remembers how it was made."""

    def __init__(self, *positional, **named):
        self.positional, self.named = positional, named


class DeclareLaunchArgument(Recorded):
    @property
    def name(self):
        return self.positional[0]


class LaunchConfiguration(Recorded):
    def perform(self, context):
        return context.values[self.positional[0]]


class OpaqueFunction(Recorded):
    pass


class LaunchDescription(Recorded):
    @property
    def entities(self):
        return self.positional[0]


class Node(Recorded):
    pass


class ExecuteProcess(Recorded):
    """As since Iron, whose launch has a bound for starting a process again."""

    def __init__(self, *positional, respawn_max_retries=-1, **named):
        super().__init__(*positional, respawn_max_retries=respawn_max_retries, **named)


class ParameterValue(Recorded):
    """A parameter whose type is given instead of read from its text."""

    def __eq__(self, other):
        return self.positional[0] == other and self.named["value_type"] is type(other)

    __hash__ = None


class IncludeLaunchDescription(Recorded):
    pass


class Context:
    """Values of the launch arguments: given ones over declared defaults; choices are enforced."""

    def __init__(self, description, given):
        self.values = {}
        for declared in arguments_of(description):
            value = given.get(declared.name, declared.named.get("default_value"))
            choices = declared.named.get("choices")
            if value is None:
                raise ValueError(f"launch argument {declared.name} is required")
            if choices and value not in choices:
                raise ValueError(f"{declared.name}:={value} is not one of {choices}")
            self.values[declared.name] = value


def arguments_of(description):
    return [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]


def evaluate(description, given):
    """Return the actions that the description's functions make for the given arguments."""
    context = Context(description, given)
    actions = []
    for entity in description.entities:
        if isinstance(entity, OpaqueFunction):
            actions += entity.named["function"](context)
    return actions


def install(monkeypatch):
    """Put the doubles where `import launch` finds them."""
    names = {
        "launch": {"LaunchDescription": LaunchDescription},
        "launch.actions": {
            name: globals().get(name) or type(name, (Recorded,), {})
            for name in (
                "DeclareLaunchArgument", "EmitEvent", "ExecuteProcess", "IncludeLaunchDescription",
                "LogInfo", "OpaqueFunction", "RegisterEventHandler", "SetEnvironmentVariable",
            )
        },
        "launch.conditions": {"IfCondition": Recorded},
        "launch.event_handlers": {"OnProcessExit": Recorded},
        "launch.events": {"Shutdown": Recorded},
        "launch.launch_description_sources": {"PythonLaunchDescriptionSource": Recorded},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
        "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
    }  # fmt: skip
    for name, content in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
