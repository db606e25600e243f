"""From nothing to the first image: a fresh interpreter, imports, coefficients and network loaded, one PNG.

The packaged digits at 5 evaluations, on the CPU; the first start, which compiles the files of this
package, is left out:
    python benchmarks/first_image.py --out benchmarks/results/first_image.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

LIMIT = 3.0
CHILD = """
import json, sys, time
began = time.perf_counter()
import torch
torch_there = time.perf_counter()
from adasde.generation import Request, draw_seeds
from adasde.sampling.coefficients import Coefficients
from adasde.generation.sinks import png
imported = time.perf_counter()
request = Request.of(Coefficients.load(sys.argv[1]))
with torch.no_grad(), open(sys.argv[2], "wb") as stream:
    stream.write(png(draw_seeds(request, [0])[0]))
marks = torch_there - began, imported - torch_there, time.perf_counter() - imported
parts = dict(zip(("torch", "adasde", "load_and_draw"), marks))
print(json.dumps({"there": time.time(), "cpu_seconds": time.process_time(), **parts}))
"""


def timed(coefficients: Path) -> dict[str, float]:
    """Seconds from the start of one interpreter until the image is written, in all and by part.

    ``cpu_seconds`` is what it costs however busy the machine is.
    """
    image = coefficients.with_name("first.png")
    image.unlink(missing_ok=True)
    command = [sys.executable, "-c", CHILD, str(coefficients), str(image)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.time()
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    parts = json.loads(ended.stdout)
    assert image.read_bytes().startswith(b"\x89PNG")
    return {"seconds": parts.pop("there") - began, **parts}


def write_coefficients(path: Path) -> None:
    from adasde.models.loading import load_model
    from adasde.sampling.coefficients import neutral
    from adasde.sampling.schedules import schedule

    model = load_model("digits")
    table = neutral(schedule("time_uniform", 3, rho=1.0), afs=True)
    replace(table, model={"name": model.name, "sha256": model.sha256}).save(path)


def main() -> None:
    """Print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--coefficients", type=Path, help="of digits; default: undistilled ones")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        coefficients = Path(folder, "nfe5.json")
        if options.coefficients:
            coefficients.write_bytes(options.coefficients.read_bytes())
        else:
            write_coefficients(coefficients)
        timed(coefficients)
        starts = [timed(coefficients) for _ in range(options.starts)]
    medians = {name: round(statistics.median(start[name] for start in starts), 3) for name in starts[0]}
    result = {
        **medians,
        "every": [round(start["seconds"], 3) for start in starts],
        "limit": LIMIT,
        "reached": medians["seconds"] <= LIMIT,
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
