"""Lifecycle and parameters of a node, over real services from a second node."""

import threading
from dataclasses import dataclass

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor

from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.lifecycle import ManagedNode


@dataclass(frozen=True)
class Example:
    rate_hz: float = parameter(10.0, "Rate [Hz].", minimum=0.1, maximum=100.0, read_only=False)
    backend: str = parameter("sensor", "Backend.", choices=("sensor", "other"))
    topics: tuple[str, ...] = parameter((), "Topics.")


class ExampleNode(ManagedNode[Example]):
    def __init__(self, fail=None, **arguments):
        self.calls = []
        self.fail = fail or {}
        super().__init__("example", Example, **arguments)

    def _step(self, name):
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]

    def set_up(self):
        self._step("set_up")

    def start(self):
        self._step("start")

    def stop(self):
        self._step("stop")

    def tear_down(self):
        self._step("tear_down")

    def apply_changes(self, old, new):
        if new.rate_hz == 13.0:
            raise ConfigurationError("13 is unlucky")


class Graph:
    def __init__(self, ros, **arguments):
        self.node = ExampleNode(**arguments)
        self.client = ros.create_node("client")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.client)

    def call(self, service_type, name, request):
        client = self.client.create_client(service_type, f"/example/{name}")
        assert client.wait_for_service(10)
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, timeout_sec=10)
        return future.result()

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "change_state", request).success

    def state(self):
        return self.call(GetState, "get_state", GetState.Request()).current_state.id

    def set(self, name, **value):
        request = SetParameters.Request(
            parameters=[ParameterMessage(name=name, value=ParameterValue(**value))]
        )
        return self.call(SetParameters, "set_parameters", request).results[0]

    def close(self):
        self.node.destroy_node()
        self.client.destroy_node()


@pytest.fixture
def make_graph(ros):
    graphs = []

    def make(**arguments):
        graphs.append(Graph(ros, **arguments))
        return graphs[-1]

    yield make
    for graph in graphs:
        graph.close()


def double(value):
    return {"type": ParameterType.PARAMETER_DOUBLE, "double_value": value}


def string(value):
    return {"type": ParameterType.PARAMETER_STRING, "string_value": value}


def test_the_whole_cycle_calls_each_hook_once(make_graph):
    graph = make_graph()
    for transition, state in (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
    ):
        assert graph.change(transition)
        assert graph.state() == state
    assert graph.node.calls == ["set_up", "start", "stop", "tear_down"]


def test_a_mendable_failure_leaves_the_node_unconfigured_and_ready_to_try_again(make_graph):
    graph = make_graph(fail={"set_up": OSError("no such device")})
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert graph.node.calls == ["set_up", "tear_down"]
    assert graph.node.last_failure == "configure failed: no such device"
    graph.node.fail.clear()
    assert graph.change(Transition.TRANSITION_CONFIGURE)


def test_out_of_memory_goes_through_error_processing_and_can_be_tried_again(make_graph):
    graph = make_graph(fail={"set_up": MemoryError()})
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.state() == State.PRIMARY_STATE_UNCONFIGURED
    graph.node.fail.clear()
    assert graph.change(Transition.TRANSITION_CONFIGURE)


@pytest.mark.parametrize("error", [MemoryError("full"), OSError("the GPU fell off the bus")])
def test_a_node_that_gives_up_is_released_by_an_error_transition_and_can_be_tried_again(
    make_graph, error
):
    graph = make_graph()
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.change(Transition.TRANSITION_ACTIVATE)
    worker = threading.Thread(target=graph.node.give_up, args=(error,))
    worker.start()
    worker.join()
    while graph.state() != State.PRIMARY_STATE_UNCONFIGURED:
        graph.executor.spin_once(timeout_sec=0.1)
    assert graph.node.calls == ["set_up", "start", "stop", "tear_down"]
    assert graph.node.last_failure == f"processing failed: {error}"
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    # Given up while it is not active: nothing is left to stop.
    graph.node.give_up(error)
    assert graph.change(Transition.TRANSITION_ACTIVATE)
    assert graph.change(Transition.TRANSITION_DEACTIVATE)


def test_a_failure_to_activate_leaves_the_node_inactive_and_stopped(make_graph):
    graph = make_graph(fail={"start": OSError("busy")})
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert not graph.change(Transition.TRANSITION_ACTIVATE)
    assert graph.state() == State.PRIMARY_STATE_INACTIVE
    assert graph.node.calls == ["set_up", "start", "stop"]


def test_autostart_brings_the_node_to_active_without_a_manager(make_graph):
    graph = make_graph(cli_args=["--ros-args", "-p", "autostart:=true"])
    for _ in range(50):
        graph.executor.spin_once(timeout_sec=0.1)
        if graph.node.is_active:
            break
    assert graph.state() == State.PRIMARY_STATE_ACTIVE


def test_autostart_activates_again_when_what_it_waits_for_came_late(make_graph):
    graph = make_graph(
        cli_args=["--ros-args", "-p", "autostart:=true"], fail={"start": OSError("not there yet")}
    )
    for _ in range(100):
        graph.executor.spin_once(timeout_sec=0.1)
        if "stop" in graph.node.calls:
            graph.node.fail = {}
        if graph.node.is_active and not graph.node.fail:
            break
    assert graph.state() == State.PRIMARY_STATE_ACTIVE
    assert graph.node.calls == ["set_up", "start", "stop", "start"]


def test_descriptors_carry_meaning_range_and_choices(make_graph):
    graph = make_graph()
    request = DescribeParameters.Request(names=["rate_hz", "backend"])
    rate, backend = graph.call(DescribeParameters, "describe_parameters", request).descriptors
    assert rate.description == "Rate [Hz]."
    assert rate.floating_point_range[0].to_value == 100.0
    assert "'sensor', 'other'" in backend.additional_constraints


def test_a_run_time_change_is_applied_or_refused_with_the_reason(make_graph):
    graph = make_graph()
    graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.set("rate_hz", **double(20.0)).successful
    assert graph.node.configuration.rate_hz == 20.0
    refused = graph.set("rate_hz", **double(13.0))
    assert (refused.successful, refused.reason) == (False, "13 is unlucky")
    assert not graph.set("rate_hz", **double(1000.0)).successful
    fixed = graph.set("backend", **string("other"))
    assert not fixed.successful
    assert "fixed while the node is configured" in fixed.reason
    assert graph.node.configuration.rate_hz == 20.0


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("rate_hz:=1000.0", "0.1 to 100"),
        ("backend:=magic", "'sensor', 'other'"),
        ("backnd:=sensor", "did you mean 'backend'"),
        ("rate_hz:=fast", "a number"),
    ],
)
def test_a_bad_start_parameter_fails_configure_with_the_reason(make_graph, argument, text):
    graph = make_graph(cli_args=["--ros-args", "-p", argument])
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert text in graph.node.last_failure


def test_setting_a_refused_parameter_right_lets_the_node_configure(make_graph):
    graph = make_graph(cli_args=["--ros-args", "-p", "backend:=magic"])
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.set("backend", **string("other")).successful
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.node.configuration.backend == "other"


def test_an_integer_in_a_parameter_file_serves_as_a_double_and_an_empty_list_as_a_list(make_graph):
    graph = make_graph(cli_args=["--ros-args", "-p", "rate_hz:=20", "-p", "topics:=[a, b]"])
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.node.configuration.rate_hz == 20.0
    assert graph.node.configuration.topics == ("a", "b")
