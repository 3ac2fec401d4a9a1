"""What `make check-gpu` measures: the live training of each demo on this machine's GPU and on its CPU, and stacks.

Numbers are held against each other as shares of the largest value of their curve. Times count what a reader waits for:
data and network are made, training runs, each frame is read back.
"""

import contextlib
import io
import itertools
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from unittest import mock

import numpy as np
import torch
from demos import CHAPTERS, demos_of
from notebooks import ROOT, functions_of

from weightdecay import pick_device
from weightdecay.sweep import follow

SECONDS = 10  # for one training on one device; a longer one is cut, and both are compared where both have been
# The first frame must agree within this, from then on rounding may grow. Random errors of 1e-7 in every product of
# matrices, on a CPU, move a first frame by 0.0013 at most, and some whole trainings by a half.
# A GPU moves one by 0.0015.
TOLERANCE = 0.01
STACKS = (1, 4, 16, 64)
PARTED = "the same in the first frame; then rounding, which differs between devices, grows with training"


def on(device):
    """Let chapters choose this device."""
    return mock.patch.dict(os.environ, WEIGHTDECAY_DEVICE=str(device))


def train(demo):
    """The frames of a training, [(step, seconds since its start, values)], until it ends or its time is up."""
    next(demo.run())  # warms up
    start, frames = time.perf_counter(), []
    for step, values in demo.run():
        frames.append((step, time.perf_counter() - start, values))
        if frames[-1][1] > SECONDS:
            break
    return frames


def apart(ours, theirs):
    """For each frame the largest difference between two series of them, as a share of the curve's largest value."""
    worst = np.zeros(len(ours))
    for name in ours[0][2]:
        a, b = (np.array([values[name].item() for _, _, values in frames]) for frames in (ours, theirs))
        finite = np.isfinite(a)
        gap = np.where(finite == np.isfinite(b), 0, np.inf)
        gap[finite] += np.abs(a - b)[finite] / (np.abs(a[finite]).max(initial=0) or 1)
        worst = np.maximum(worst, gap)
    return worst


def compare(cpu, gpu):
    """One demo on both devices: times to the first frame and to the last one that both have, and whether they agree."""
    ours, theirs = train(cpu), train(gpu)
    count = min(len(ours), len(theirs))
    whole = len(ours) == len(theirs) and ours[-1][0] == theirs[-1][0] and max(ours[-1][1], theirs[-1][1]) <= SECONDS
    ours, theirs = ours[:count], theirs[:count]
    gaps = apart(ours, theirs)
    agrees, same = bool(gaps[0] <= TOLERANCE), gaps.max() <= TOLERANCE
    note = "the same" if same else PARTED if agrees else "not the same in the first frame"
    times = {key: {"first": frames[0][1], "last": frames[-1][1]} for key, frames in (("cpu", ours), ("gpu", theirs))}
    verdict = {"first difference": gaps[0].item(), "difference": gaps.max().item(), "agrees": agrees, "note": note}
    return {**times, "step": float(ours[-1][0]), "whole": whole, **verdict}


def check(chapter, device):
    """The demos of a chapter, one record each."""
    with on("cpu"):
        at_home = {demo.title: demo for demo in demos_of(chapter)}
    with on(device):
        try:
            demos = demos_of(chapter)
        except (RuntimeError, TypeError) as error:
            yield {"chapter": chapter, "demo": "", **refused(error, device)}
            return
        for demo in demos:
            record = {"chapter": chapter, "demo": demo.title}
            if demo.device != str(device):
                record |= {"agrees": True, "note": f"trains on {demo.device}, whatever there is"}
            elif demo.title not in at_home:
                record |= {"agrees": True, "note": "trains on a GPU alone"}
            else:
                try:
                    record |= compare(at_home[demo.title], demo)
                except (RuntimeError, TypeError) as error:
                    record |= refused(error, device)
            yield record


def refused(error, device):
    """What is noted of a training that cannot run there; only 64-bit numbers are no fault, on Apple's GPUs."""
    return {"agrees": "float64" in str(error) and torch.device(device).type == "mps", "note": str(error).split("\n")[0]}


def models_a_second(models, device, epochs=3):
    """How many networks of the binary addition, 256 wide, take ten steps in a second, in a stack of so many."""
    with on(device), contextlib.redirect_stdout(io.StringIO()):
        chapter = functions_of("binary-addition")
        stacked = {"lambd": [0.1] * models, "num_steps": 10 * epochs, "n_train": 640}
        ends = [time.perf_counter() for _ in follow(chapter["train"], stacked, size=models)]
    return (epochs - 1) * models / (ends[-1] - ends[0])  # the first epoch warms up


def main():
    """Measure, and write book/gpu.json."""
    device = pick_device()
    if device.type == "cpu":
        sys.exit("There is no GPU here that the book would train on, so there is nothing to check.")
    torch.ones(1, device=device).item()  # starts the device, which no training is to wait for
    names = {"cuda": torch.cuda.get_device_name, "mps": platform.processor}
    start, demos = time.perf_counter(), []
    for record in itertools.chain.from_iterable(check(chapter, device) for chapter in CHAPTERS):
        demos.append(record)
        times = [
            f"{key} {record[key]['first']:.2f} s, {record[key]['last']:.1f} s"
            for key in ("cpu", "gpu")
            if key in record
        ]
        print(f"{record['chapter']:16} {record['demo']}:", *times, record["note"], sep="  ", flush=True)
    stacks = [{"models": K, **{k: models_a_second(K, d) for k, d in (("cpu", "cpu"), ("gpu", device))}} for K in STACKS]
    for stack in stacks:
        print("a stack of {models}: {cpu:.1f} models a second on the CPU, {gpu:.1f} on the GPU".format(**stack))
    record = {
        "command": "make check-gpu",
        "gpu": names[device.type](),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"torch": version("torch")},
        "tolerance": TOLERANCE,
        "seconds": time.perf_counter() - start,
        "demos": demos,
        "stacks": stacks,
    }
    (ROOT / "book" / "gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if wrong := [f"{one['demo'] or one['chapter']} ({one['note']})" for one in demos if not one["agrees"]]:
        sys.exit(f"On {record['gpu']} these do not train as on the CPU: {'; '.join(wrong)}.")


if __name__ == "__main__":
    main()
