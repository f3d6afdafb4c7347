"""Send 30 Hz 640x480 RGB-D from a camera process to a geometry process, and count every frame.

Run: python benchmarks/transport.py [--seconds 60]
Writes benchmarks/results/transport.json. The target is that published minus received is 0 with
reliable and with best-effort QoS.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camera_to_geometry import (
    CAMERA,
    GEOMETRY,
    HEIGHT_PX,
    QOS,
    RATE_HZ,
    WIDTH_PX,
    drain,
    percentiles,
    read_journey,
    running,
    write_parameters,
    write_recording,
)
from conditions import conditions, write_results


def measure(folder: Path, recording: Path, qos: str, seconds: float) -> dict[str, Any]:
    """Run both processes for a while; returns counts, latencies and use of the machine."""
    folder.mkdir()
    parameters = write_parameters(folder / "parameters.yaml", recording, qos)
    with running(folder, parameters) as watch:
        watch.spin(seconds)
        use = {name: watch.use(name) for name in watch.processes}
        drain(watch)
        camera, geometry = dict(watch.statuses[CAMERA]), dict(watch.statuses[GEOMETRY])
    journey = read_journey(folder)
    return {
        "published": len(journey.sent),
        "received": journey.received,
        "published_minus_received": len(journey.sent) - journey.received,
        "lost_positions": journey.lost_positions()[:100],
        "duplicates": journey.duplicates,
        "unordered": journey.unordered,
        "processed": journey.processed,
        "superseded": int(geometry["superseded"]),
        "rejected": int(geometry["rejected"]),
        "failed": int(geometry["failed"]),
        "counted_by_the_nodes": {
            "published": int(camera["published"]),
            "received": int(geometry["received"]),
            "lost": int(geometry["lost"]),
        },
        "camera_late": int(camera["late"]),
        "publish": percentiles(journey.publish_ms),
        "publish_to_input": percentiles(journey.input_ms),
        "publish_to_geometry": percentiles(journey.output_ms),
        "processes": {
            name: {key: round(value, 1) for key, value in asdict(of).items()}
            for name, of in use.items()
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each run")
    seconds = parser.parse_args().seconds
    measured_under = conditions()
    runs = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = write_recording(folder / "recording")
        for qos in QOS:
            runs[qos] = measure(folder / qos, recording, qos, seconds)
            numbers = runs[qos]
            print(
                f"{qos:12s} published {numbers['published']}, received {numbers['received']}, "
                f"superseded {numbers['superseded']}; input after "
                f"{numbers['publish_to_input']['p50_ms']:.1f} ms "
                f"(p95 {numbers['publish_to_input']['p95_ms']:.1f})"
            )
    lossless = all(run["published_minus_received"] == 0 for run in runs.values())
    results = {
        "image": f"{WIDTH_PX}x{HEIGHT_PX} colour and depth in one RgbdFrame",
        "rate_hz": RATE_HZ,
        "seconds": seconds,
        "target_met": lossless,
        "runs": runs,
    }
    path = write_results("transport", results, measured_under)
    print(f"target (nothing lost) {'met' if lossless else 'MISSED'}; written to {path}")


if __name__ == "__main__":
    main()
