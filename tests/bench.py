"""What `make bench` prints: how long retraining, sweeping and drawing take, and the ratios between them.

Times are medians of this one run on this machine; the ratios are what to look at. Nothing here is asserted.
"""

import io
import statistics
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from adder import PlainAdder, train_plain
from demos import demos_of_page
from notebooks import ROOT, functions_of
from torch.utils.data import DataLoader, TensorDataset

from weightdecay import binary_addition, high_dim_regression, pick_device, sweep
from weightdecay.sweep import follow

LAMBDAS = [0, *np.geomspace(0.01, 10, 255)]


def source_train(lambd, batch_size=5, num_epochs=100, lr=0.003, draw=False):
    """The experiment as introductions write it: a DataLoader, autograd, losses every fifth epoch."""
    data = high_dim_regression()
    train = DataLoader(TensorDataset(data.X_train, data.y_train), batch_size, shuffle=True)
    test = DataLoader(TensorDataset(data.X_test, data.y_test), batch_size)
    w, b = torch.normal(0, 1, (200, 1), requires_grad=True), torch.zeros(1, requires_grad=True)

    def mean_loss(batches):
        total, count = 0.0, 0
        for X, y in batches:
            loss = (X @ w + b - y) ** 2 / 2
            total, count = total + loss.sum().item(), count + loss.numel()
        return total / count

    history = []
    for epoch in range(num_epochs):
        for X, y in train:
            loss = (X @ w + b - y) ** 2 / 2 + lambd * (w**2).sum() / 2
            loss.sum().backward()
            with torch.no_grad():
                for p in (w, b):
                    p -= lr * p.grad / batch_size
                    p.grad.zero_()
        if (epoch + 1) % 5 == 0:
            history.append((epoch + 1, mean_loss(train), mean_loss(test)))
            if draw:
                draw_with_matplotlib(history)


def draw_with_matplotlib(history):
    """A new picture of all points so far, as an animated plot in a notebook makes one."""
    figure, axes = plt.subplots(figsize=(3.5, 2.5))
    axes.semilogy(*np.transpose(history)[[0, 1]])
    axes.semilogy(*np.transpose(history)[[0, 2]])
    figure.savefig(io.BytesIO(), format="svg")
    plt.close(figure)


def seconds(function, runs=5):
    """Median time of a few runs after a first one."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(what, took, reference=None):
    ratio = f"{reference / took:10.1f} times faster" if reference else ""
    print(f"  {what:62} {took:9.4f} s{ratio}", flush=True)


def bench_stacks(num_steps=78):
    """Networks that learn to add, trained one by one and in stacks of K, on the device that the book would use."""
    device, train = pick_device(), functions_of("binary-addition")["train"]
    data = binary_addition()
    X, y = data.X_train.to(device), data.y_train.to(device)
    net = PlainAdder(256, 1e-2).to(device)
    adam = torch.optim.AdamW(net.parameters(), 1e-3, (0.9, 0.98), 1e-3, weight_decay=0.1, fused=True)

    def alone():
        train_plain(net, adam, X, y, num_steps)
        return net.first.weight.sum().item()  # waits for a GPU

    print(f"Binary addition, {num_steps} steps, {device}, {torch.get_num_threads()} threads")
    plain = seconds(alone, runs=3)
    row("PyTorch's layers, one network", plain)
    for K in (1, 4, 16):
        took = seconds(lambda K=K: list(follow(train, {"lambd": [0.1] * K, "num_steps": num_steps}, K)), runs=3)
        row(f"a stack of {K}: {K / took:.1f} models a second", took / K, plain)


def main():
    chapter = functions_of("pytorch")
    train, train_all = chapter["train"], chapter["train_all"]
    torch.manual_seed(0)

    print("One training of 100 epochs")
    five = seconds(lambda: source_train(3))
    drawn = seconds(lambda: source_train(3, draw=True), runs=3)
    row("the source's program, batch 1", seconds(lambda: source_train(3, batch_size=1), runs=3))
    row("the source's program, batch 5", five)
    row("the source's program, batch 5, drawn every fifth epoch", drawn)
    row("the chapter's, batch 1", seconds(lambda: list(train(3, batch_size=1))))
    row("the chapter's, batch 5", seconds(lambda: list(train(3))), five)

    print("256 values of λ, batch 5")
    start = time.perf_counter()
    for lambd in LAMBDAS:
        source_train(lambd)
    source = time.perf_counter() - start
    one = seconds(lambda: sweep(train_all, broadcast=True, lambd=[3]))
    together = seconds(lambda: sweep(train_all, broadcast=True, lambd=LAMBDAS))
    row("the source's program in a loop", source)
    row("the chapter's in a loop", seconds(lambda: sweep(train, lambd=LAMBDAS), runs=1), source)
    row("broadcast", together, source)
    row("broadcast, one value", one)
    print(f"  256 values cost {together / one:.1f} times one value")

    bench_stacks()

    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    from measure import measure_lab, measure_static  # needs a Chromium and the built site

    print("Drawing, in Chromium (median and largest)")
    redraws = measure_static()
    print(f"  built page, slider event to redrawn chart: {statistics.median(redraws):.1f} ms, {max(redraws):.1f} ms")
    first, whole = measure_lab()
    print(f"  JupyterLab, slider event to first fresh frame: {statistics.median(first):.0f} ms, {max(first):.0f} ms")
    print(f"  JupyterLab, whole training, chart drawn: {statistics.median(whole):.0f} ms, {max(whole):.0f} ms")
    print(f"  that is {1000 * drawn / statistics.median(whole):.1f} times faster than the source's program, drawn")

    bench_page()


def bench_page():
    """Training on the page against PyTorch's own loop over the same steps, one thread each."""
    from measure import measure_training
    from servers import PAGES

    torch.set_num_threads(1)
    print("Training on the page (median; as a share of PyTorch's bare loop)")
    for name in PAGES:
        found, loaded = measure_training(name)
        if not found:
            continue
        print(f"  {name}, runtime loaded in {loaded:.0f} ms")
        for title, times in found.items():
            demo = demos_of_page(name)[title]
            point = demo.point | {next(iter(demo.point)): 0.012}
            bare = 1000 * seconds(lambda demo=demo, point=point: list(demo.train(**point)))
            first, whole = (statistics.median(one) for one in zip(*times, strict=True))
            print(f"    {title}: first frame {first:.0f} ms, whole {whole:.0f} ms, {whole / bare:.2f} of {bare:.0f} ms")


if __name__ == "__main__":
    main()
