"""Stands in for the commands of ``adasde``: the same options and files, next to no work.

A file FAIL or SLOW in the project or above, that names a stage (``distill@custom-5``), makes that stage fail
or take minutes; further words must be in params.yaml. A file LARGE with a number of bytes gives one output
that size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
import time
import zlib
from pathlib import Path

import yaml

BASELINES = ("DDIM (Euler)", "DPM-Solver++(2M) + AFS")


def main() -> None:
    arguments = parse()
    name = "baselines" if arguments.baselines else arguments.stage
    item = "-".join(filter(None, (arguments.student, str(arguments.nfe or ""))))
    stage = f"{name}@{item}" if item else name
    print("hello from", stage, flush=True)
    for done in (0, 1, 2):
        print(
            "@progress", json.dumps({"stage": stage, "done": done, "total": 2, "unit": "things"}), flush=True
        )
    if wanted("FAIL", stage):
        print("the reason why", stage, "fails", file=sys.stderr)
        sys.exit(1)
    if wanted("SLOW", stage):
        Path("STARTED").touch()
        time.sleep(300)
    WRITERS[arguments.stage](arguments, yaml.safe_load(Path("params.yaml").read_text()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--nfe", type=int)
    parser.add_argument("--student")
    parser.add_argument("--timing", type=Path)
    parser.add_argument("--baselines", action="store_true")
    for name in ("out", "metrics", "checkpoint", "teacher", "coefficients", "samples", "reference", "data"):
        parser.add_argument(f"--{name}", type=Path)
    return parser.parse_args()


def wanted(name: str, stage: str) -> bool:
    """Whether the file ``name``, here or in a folder above, names the stage and what its params.yaml has."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / name).is_file():
            words = (folder / name).read_text().split()
            return words[0] == stage and all(word in Path("params.yaml").read_text() for word in words[1:])
    return False


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True))


def fetch(arguments, params):
    write(arguments.out / "card.json", params["model"])


def reference(arguments, params):
    write(arguments.out / "statistics.json", params["evaluate"])
    write(arguments.out / "features.safetensors", params["model"])
    write(arguments.metrics, document(params, {"Heun": row(0.1, 99)}))
    if Path("LARGE").is_file():
        (arguments.out / "large").write_bytes(bytes(int(Path("LARGE").read_text())))


def plan(arguments, params):
    parts = ("teacher", "distill")
    values = {
        name: {part: params[part] for part in parts} | own_recipe(params, name) for name in students(params)
    }
    for nfe in params["nfe"]:
        for name, value in values.items():
            write(arguments.out / f"nfe{nfe}/{name}.json", value)
            write(arguments.out / f"nfe{nfe}/{name}.teacher.json", value["teacher"])


def students(params) -> list[str]:
    return params["students"]


def own_recipe(params, name: str) -> dict:
    return {"own": params.get("recipes", {}).get(name)}


def label(name: str) -> str:
    return "AdaSDE" if name == "custom" else f"AdaSDE ({name})"


def teacher(arguments, params):
    write(arguments.out / "manifest.json", params["teacher"])


def distill(arguments, params):
    write(
        arguments.out / "coefficients.json",
        [
            params["distill"],
            own_recipe(params, arguments.student),
            digest(arguments.teacher / "manifest.json"),
        ],
    )
    (arguments.out / "loss.csv").write_text("iteration,node_1,node_2\n0,3.0,4.0\n1,1.5,2.0\n")


def sample(arguments, params):
    source = arguments.coefficients
    write(arguments.out / "manifest.json", digest(source) if source else params["baselines"])
    labels = [label(arguments.student)] if source else BASELINES
    times = {one: {"seconds": time.perf_counter(), "nfe": arguments.nfe} for one in labels}
    write(arguments.timing, times)


def evaluate(arguments, params):
    rows, facts = {}, {}
    for name in students(params):
        noise = int(digest(arguments.samples / name / "manifest.json")[:4], 16) / 16**4
        rows[label(name)] = row(0.2 + noise, arguments.nfe)
        facts[label(name)] = {"name": name, "gamma": 0, "afs": True, "validation_fid": noise}
    rows |= {one: row(1.2 + i, arguments.nfe) for i, one in enumerate(BASELINES)}
    write(arguments.out, document(params, rows) | {"students": facts})


def report(arguments, params):
    known = {
        nfe: json.loads((arguments.data / f"metrics/nfe{nfe}.json").read_text()) for nfe in params["nfe"]
    }
    tables = {
        key: {one: {n: known[n][key][one] for n in known} for one in known[params["nfe"][0]][key]}
        for key in ("rows", "students")
    }
    results = document(params, tables["rows"]) | {"students": tables["students"]}
    write(arguments.out / "results.json", results | {"nfe": params["nfe"], "teacher": row(0.1, 99)})
    for name in ("fid", *(f"samples-nfe{nfe}" for nfe in params["nfe"])):
        (arguments.out / f"{name}.png").write_bytes(picture())


def row(mean: float, nfe: int) -> dict:
    one = {"mean": mean, "spread": 0.01, "values": [mean - 0.01, mean, mean + 0.01]}
    return {"fid": one, "kid": one, "precision": one, "recall": one, "nfe": nfe}


def document(params: dict, rows: dict) -> dict:
    return {"model": params["model"], "protocol": {"images": 3}, "protocol_hash": "f" * 64, "rows": rows}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture() -> bytes:
    """A PNG of one white pixel."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\x00\xff")),
        (b"IEND", b""),
    )
    parts = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


WRITERS = {
    "plan": plan,
    "fetch": fetch,
    "reference": reference,
    "teacher": teacher,
    "distill": distill,
    "sample": sample,
    "evaluate": evaluate,
    "report": report,
}

if __name__ == "__main__":
    main()
