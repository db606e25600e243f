"""What our transfers cost over plain boto3, as ratios of times within one run, against a server on loopback.

    python benchmarks/store.py --megabytes 1024

Shards go up and down by ``put_many`` and ``get_many`` (with checksums, verified), and by boto3's
``upload_file`` and ``download_file`` with its default settings, one after the other; the two in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import boto3

from adasde.files import sha256_file
from adasde.store.s3 import S3Store

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from s3_server import S3Server  # noqa: E402

BUCKET = "benchmark"


def make_shards(folder: Path, megabytes: int, shard: int) -> list[Path]:
    folder.mkdir()
    paths = []
    for number in range(max(1, megabytes // shard)):
        paths.append(folder / f"shard-{number:05d}.safetensors")
        paths[-1].write_bytes(os.urandom(min(shard, megabytes) << 20))
    return paths


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def one_round(shards: list[Path], folder: Path, name: str) -> dict[str, float]:
    """Times of the four transfers, in seconds; what came back is compared."""
    store, client = S3Store(f"s3://{BUCKET}/{name}"), boto3.session.Session().client("s3")
    back = {kind: {path.name: folder / kind / path.name for path in shards} for kind in ("ours", "plain")}
    (folder / "plain").mkdir(parents=True)

    def plain_up() -> None:
        for path in shards:
            client.upload_file(str(path), BUCKET, f"{name}-plain/{path.name}")

    def plain_down() -> None:
        for path in shards:
            client.download_file(BUCKET, f"{name}-plain/{path.name}", str(back["plain"][path.name]))

    calls: dict[str, Callable[[], object]] = {
        "upload plain": plain_up,
        "upload ours": lambda: store.put_many({path.name: path for path in shards}),
        "download plain": plain_down,
        "download ours": lambda: store.get_many(back["ours"]),
    }
    turn = list(calls.items()) if int(name) % 2 else [list(calls.items())[k] for k in (1, 0, 3, 2)]
    times = {label: seconds(call) for label, call in turn}
    for path in shards:
        for copies in back.values():
            assert sha256_file(copies[path.name]) == sha256_file(path)
            copies[path.name].unlink()
        store.delete(path.name)
        client.delete_object(Bucket=BUCKET, Key=f"{name}-plain/{path.name}")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--shard", type=int, default=32, help="megabytes of a shard")
    parser.add_argument("--rounds", type=int, default=5)
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
            rounds = [one_round(shards, folder / str(k), str(k)) for k in range(options.rounds)]
        finally:
            server.stop()
    result: dict[str, object] = {"megabytes": options.megabytes, "shard": options.shard, "rounds": rounds}
    for way in ("upload", "download"):
        ratio = statistics.median(times[f"{way} ours"] / times[f"{way} plain"] for times in rounds)
        plain = statistics.median(times[f"{way} plain"] for times in rounds)
        result[f"{way}: ours / plain boto3"] = ratio
        print(f"{way:10s} ours / plain boto3 {ratio:.3f}   (plain: {options.megabytes / plain:.0f} MB/s)")
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
