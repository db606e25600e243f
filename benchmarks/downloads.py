"""1 000 interruptions of downloads at random offsets: correct content every time, and no byte twice.

    python benchmarks/downloads.py

Half of them are connections cut by the server, half are processes killed (SIGKILL) after some chunk; a chunk
that such a process has received but not written is not counted. Writes
``benchmarks/results/downloads.json``: how many downloads of twenty interruptions each ended with the correct
SHA-256, the bytes requested again, and the most of those after one interruption, in chunks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from faulty_server import Fault, Site, serving

from adasde.storage import download as module
from adasde.storage.download import download

HERE = Path(__file__).parent
SIZE, CHUNK, PAIRS = 4_000_000, 1 << 16, 10


def killed_after(size: int, url: str, folder: Path, sha256: str) -> None:
    """A download in a child process that is killed once ``size`` more bytes have come."""

    def progress(units: int = 1, /, note: str = "") -> None:
        nonlocal size
        size -= units
        if size <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        download(url, folder, sha256=sha256, progress=progress)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def one_file(seed: int, folder: Path) -> tuple[bool, list[int]]:
    """Whether one download has the correct content, and the bytes requested again after each interruption."""
    choose = random.Random(seed)
    content = choose.randbytes(SIZE)
    sha256 = hashlib.sha256(content).hexdigest()
    had, places = 0, []
    with serving(Site(content)) as site:
        url = f"{site.address}/{seed}"
        for _ in range(PAIRS):
            cut, kill = (choose.randrange(1, SIZE // (2 * PAIRS + 2)) for _ in range(2))
            site.faults = [Fault(cut=cut)]
            killed_after(had + cut + kill, url, folder, sha256)
            places.append(had + cut)
            had = (folder / f".{seed}.part").stat().st_size
            places.append(had)
        path = download(url, folder, sha256=sha256)
        starts = [int(asked[6:-1]) for asked in site.asked if asked]
        again = [place - start for place, start in zip(places, starts, strict=True)]
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256, again


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interruptions", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "downloads.json")
    options = parser.parse_args()
    module.CHUNK = CHUNK
    module.time.sleep = lambda seconds: None
    began, right, again = time.perf_counter(), 0, []
    files = options.interruptions // (2 * PAIRS)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(files):
            whole, more = one_file(seed, Path(scratch))
            right += whole
            again += more
    result = {
        "interruptions": len(again),
        "downloads": files,
        "right sha256": right,
        "most bytes again after one, in chunks": max(again) / CHUNK,
        "bytes again": sum(again),
        "seconds": round(time.perf_counter() - began, 1),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
