"""Our EDM networks against upstream's code: outputs and time of one forward pass, same weights, one thread.

    python benchmarks/networks.py FOLDER [--pairs 7] [--cases cifar10-uncond-vp imagenet64-cond-adm]

FOLDER holds a copy of github.com/NVlabs/edm (its licence does not allow to keep it here). The two take turns;
time is that of the processor, which other work on the machine disturbs less than the clock's. Writes
benchmarks/results/networks.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from adasde.models.core.precision import Runtime
from adasde.models.families.edm.family import BUILDERS, describe

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from golden_edm_nets import COMMIT, FULL, SIGMAS, inputs, named_weights, one_hot  # noqa: E402

BATCH = {"cifar10-uncond-vp": 8, "imagenet64-cond-adm": 1}


def seconds(call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def pair(case: str, upstream):
    """(ours, upstream's) with the same weights."""
    class_name, arguments = FULL[case]
    theirs = getattr(upstream, class_name)(**arguments).eval().requires_grad_(False)
    weights = named_weights(theirs.state_dict())
    theirs.load_state_dict(weights)
    family, shape, about = describe(class_name, arguments)
    ours = BUILDERS[family](shape, about).eval().requires_grad_(False)
    ours.load_state_dict(weights)
    return Runtime().prepare(ours, "cpu"), theirs


@torch.no_grad()
def compare(case: str, upstream, pairs: int) -> dict[str, object]:
    ours, theirs = pair(case, upstream)
    classes, side = FULL[case][1].get("label_dim", 0), FULL[case][1]["img_resolution"]
    differences = {}
    for sigma in SIGMAS:
        x, labels = inputs((2, 3, side, side), sigma, classes)
        mine = ours(x, torch.tensor(sigma), labels if classes else None)
        other = theirs(x, torch.tensor(sigma), one_hot(labels, classes) if classes else None)
        differences[f"{sigma:g}"] = ((mine - other).abs().max() / other.abs().max()).item()
    batch, sigma = BATCH.get(case, 1), torch.tensor(1.0)
    x, labels = inputs((batch, 3, side, side), 1.0, classes)[0], torch.arange(batch)

    def mine() -> None:
        ours(x, sigma, labels if classes else None)

    def other() -> None:
        theirs(x, sigma, one_hot(labels, classes) if classes else None)

    mine(), other()
    times = [(seconds(mine), seconds(other)) for _ in range(pairs)]
    ratios = sorted(one / two for one, two in times)
    return {
        "batch": batch,
        "largest difference over largest value, per sigma": differences,
        "ours, seconds": statistics.median(one for one, _ in times),
        "upstream, seconds": statistics.median(two for _, two in times),
        "ours / upstream": statistics.median(ratios),
        "all ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=list(BATCH), choices=list(FULL))
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.upstream)
    from training import networks as upstream

    torch.set_num_threads(1)
    results = {
        "upstream": COMMIT,
        "torch": torch.__version__,
        "threads": 1,
        "time": "of the processor; the two in turns; medians",
    }
    for case in arguments.cases:
        results[case] = compare(case, upstream, arguments.pairs)
        print(case, json.dumps(results[case], indent=1))
    (HERE / "results" / "networks.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
