"""The same tree installs by pip (as a wheel and editable) and by colcon (plain and with links)."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import interfaces

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not interfaces.generators_available(), reason="no rosidl generators in this environment"
    ),
]
EXECUTABLES = {path.name for path in (ROOT / "scripts").iterdir()}
# What a shell that sourced nothing has; the virtual environment comes first on the path.
CLEAN = {
    key: value
    for key, value in os.environ.items()
    if key not in ("PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH",
                   "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
} | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix}  # fmt: skip
PROBE = (
    "import sensorium, sensorium.nodes.geometry, sensorium.models, sensorium_ros.msg as m, sys;"
    "from sensorium.share import share_directory;"
    "m.RgbdFrame();"
    "print(sensorium.__file__); print(m.__file__); print(share_directory())"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the tracked and new files, so that builds leave no trace in the tree."""
    copy = tmp_path_factory.mktemp("source") / "sensorium_ros"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def run(command, **options):
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=CLEAN, timeout=600, **options
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_a_wheel_carries_the_library_the_messages_and_the_data_files(source, tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q"]
    run([*pip, "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)])
    (wheel,) = tmp_path.glob("*.whl")
    assert not wheel.name.endswith("-none-any.whl"), "generated interfaces make a platform wheel"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = [i for i in archive.infolist() if "/lib/sensorium_ros/" in i.filename]
    for expected in (
        "sensorium/frames.py",
        "sensorium/nodes/geometry.py",
        "sensorium/models/__init__.py",
        "sensorium_ros/msg/_rgbd_frame.py",
    ):
        assert expected in names
    data = {name.split(".data/data/", 1)[1] for name in names if ".data/data/" in name}
    assert {f"lib/sensorium_ros/{name}" for name in EXECUTABLES} <= data
    assert "share/sensorium_ros/launch/bringup.launch.py" in data
    assert "share/sensorium_ros/config/rendered.yaml" in data
    assert "share/sensorium_ros/config/fastdds/shm_udp.xml" in data
    assert "share/ament_index/resource_index/packages/sensorium_ros" in data
    assert any(name.startswith("lib/libsensorium_ros__rosidl_typesupport") for name in data)
    assert all(info.external_attr >> 16 & 0o111 for info in scripts), "ros2 run needs the x bit"


def test_the_editable_installation_of_this_environment_has_everything():
    out = run([sys.executable, "-c", PROBE], cwd="/")
    assert str(ROOT) in out
    assert run([f"{sys.prefix}/bin/sensorium", "--version"], cwd="/").strip()


@pytest.mark.parametrize("symlink", [False, True], ids=["plain", "symlink"])
def test_colcon_builds_the_package_in_a_workspace(source, tmp_path, symlink):
    if shutil.which("colcon", path=CLEAN["PATH"]) is None:
        pytest.skip("colcon is not installed (requirements/development.txt)")
    workspace = tmp_path / "ws"
    shutil.copytree(source, workspace / "src" / "sensorium_ros")
    environment = CLEAN | {"AMENT_PREFIX_PATH": sys.prefix, "CMAKE_PREFIX_PATH": sys.prefix}
    result = subprocess.run(
        ["colcon", "build", *(["--symlink-install"] if symlink else []), "--cmake-args",
         "-G", "Ninja", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={sys.prefix}/bin/python3",
         f"-DCMAKE_PROJECT_INCLUDE={ROOT}/tools/cmake/ros_wheels.cmake"],
        cwd=workspace, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    prefix = workspace / "install" / "sensorium_ros"
    assert {path.name for path in (prefix / "lib/sensorium_ros").iterdir()} == EXECUTABLES
    script = f"source install/setup.bash && cd / && python3 -c '{PROBE}'"
    out = run(["bash", "-c", script], cwd=workspace)
    library, messages, share = out.strip().splitlines()[-3:]
    assert library.startswith(str(prefix))
    assert messages.startswith(str(prefix))
    expected = workspace / "src/sensorium_ros" if symlink else prefix / "share/sensorium_ros"
    assert Path(share) == expected
    start = f"source install/setup.bash && {prefix}/lib/sensorium_ros/geometry --ros-args -p x:=1"
    with subprocess.Popen(
        ["bash", "-c", f"exec timeout -s INT 8 bash -c '{start}'"], cwd=workspace, env=CLEAN,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        output = process.communicate(timeout=60)[0]
    assert "Traceback" not in output


def test_installing_again_keeps_the_generated_messages(source):
    """pip must not take the interfaces' own registration for an older version of the library."""
    (egg_info,) = Path(sys.prefix).glob("lib/python*/site-packages/sensorium_ros-*.egg-info")
    registered = next(
        line.partition(": ")[2]
        for line in (egg_info / "PKG-INFO").read_text().splitlines()
        if line.startswith("Name: ")
    )
    script = "import runpy, setuptools; setuptools.setup = lambda **k: print(k['name']); "
    name = run([sys.executable, "-c", script + "runpy.run_path('setup.py')"], cwd=source)
    assert name.strip().replace("_", "-") != registered.replace("_", "-")
