"""Transfer times of the S3 store relative to plain boto3, within one run and against a server on loopback.

    python benchmarks/store.py --megabytes 1024

Shards are uploaded and downloaded by the store (with checksums, verified on download) and by boto3's
``upload_file`` and ``download_file`` with default settings; by each one file after the other (``put`` and
``get``) and in parallel (``put_many`` and ``get_many``; boto3 in as many threads). The shards are cut into
slices; each slice is transferred in all four ways before the next one, in a changing order, so that load on
the machine affects all of them. The ratios are those of the total times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import boto3

from adasde.storage.base import WORKERS
from adasde.storage.s3 import S3Store
from adasde.utils.atomic_io import sha256_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests/support"))
from s3_server import S3Server  # noqa: E402

BUCKET = "benchmark"


def make_shards(folder: Path, megabytes: int, shard: int) -> dict[str, Path]:
    """Files of random bytes by key."""
    folder.mkdir()
    names = [f"shard-{number:05d}.safetensors" for number in range(max(1, megabytes // shard))]
    for name in names:
        (folder / name).write_bytes(os.urandom(min(shard, megabytes) << 20))
    return {name: folder / name for name in names}


def cut(shards: Mapping[str, Path], size: int) -> list[dict[str, Path]]:
    """Slices of ``size`` shards."""
    items = list(shards.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Way:
    """A way to transfer files by key: all of them up, and all of them down."""

    name: str
    up: Callable[[Mapping[str, Path]], object]
    down: Callable[[Mapping[str, Path]], object]


def ways(prefix: str) -> list[Way]:
    store, client = S3Store(f"s3://{BUCKET}/{prefix}/ours"), boto3.session.Session().client("s3")

    def one_by_one(move: Callable[[str, Path], object]) -> Callable[[Mapping[str, Path]], object]:
        return lambda files: [move(key, path) for key, path in files.items()]

    def side_by_side(move: Callable[[str, Path], object]) -> Callable[[Mapping[str, Path]], object]:
        def all_of(files: Mapping[str, Path]) -> object:
            with ThreadPoolExecutor(WORKERS) as pool:
                return list(pool.map(move, files.keys(), files.values()))

        return all_of

    def upload(key: str, path: Path) -> None:
        client.upload_file(str(path), BUCKET, f"{prefix}/plain/{key}")

    def download(key: str, path: Path) -> None:
        client.download_file(BUCKET, f"{prefix}/plain/{key}", str(path))

    return [
        Way("plain", one_by_one(upload), one_by_one(download)),
        Way("ours", one_by_one(lambda key, path: store.put(path, key)), one_by_one(store.get)),
        Way("plain, side by side", side_by_side(upload), side_by_side(download)),
        Way("ours, side by side", store.put_many, store.get_many),
    ]


def one_round(shards: Mapping[str, Path], folder: Path, number: int) -> dict[str, float]:
    """Seconds of every transfer; downloaded files are compared with the uploaded ones."""
    shift, all_ways, times = number % 4, ways(f"slice {number}"), {}
    for way in all_ways[shift:] + all_ways[:shift]:
        back = {key: folder / key for key in shards}
        times[f"upload {way.name}"] = seconds(lambda way=way: way.up(shards))
        times[f"download {way.name}"] = seconds(lambda way=way, back=back: way.down(back))
        for key, path in back.items():
            assert sha256_file(path) == sha256_file(shards[key])
            path.unlink()
        everything = S3Store(f"s3://{BUCKET}")
        for entry in everything.list():
            everything.delete(entry.key)
        print(
            f"slice {number}: {way.name}",
            {k: round(v, 1) for k, v in times.items() if k.endswith(f" {way.name}")},
            flush=True,
        )
    return times


def ratios(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Ratios of the total times of all slices."""
    pairs = {
        "side by side / plain": ("ours, side by side", "plain"),
        "one by one / plain": ("ours", "plain"),
        "side by side / plain side by side": ("ours, side by side", "plain, side by side"),
    }
    total = {name: sum(times[name] for times in rounds) for name in rounds[0]}
    return {
        f"{way}: ours {label}": total[f"{way} {ours}"] / total[f"{way} {plain}"]
        for way in ("upload", "download")
        for label, (ours, plain) in pairs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--shard", type=int, default=32, help="megabytes of a shard")
    parser.add_argument("--slice", type=int, default=4, help="shards of a slice")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "store.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_shards(folder / "shards", options.megabytes, options.shard)
        server = S3Server(folder / "server")
        server.start()
        try:
            os.environ.update(server.environment())
            boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
            slices = cut(shards, options.slice)
            rounds = [one_round(part, folder, number) for number, part in enumerate(slices)]
        finally:
            server.stop()
    found = ratios(rounds)
    for label, ratio in found.items():
        print(f"{label:55s} {ratio:.3f}")
    facts = {
        "megabytes": options.megabytes,
        "shard": options.shard,
        "slice": options.slice,
        "cores": os.cpu_count(),
    }
    result = {**facts, "time ratios": found, "seconds": rounds}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
