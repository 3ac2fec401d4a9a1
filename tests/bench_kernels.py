"""What `make bench-kernels` measures for book/hub.md: what readers with a kernel of their own ask of a machine.

A reader runs a chapter as far as its first demo. Memory is PSS, the proportional set size: what processes share, such
as PyTorch's libraries, is divided among them, so that the sum over readers is what they take together.
"""

import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version

import nbformat
import psutil
from jupyter_client.manager import start_new_kernel
from notebooks import ROOT, WIDGET

sys.path.insert(0, str(ROOT / "tests" / "browser"))
from servers import start_lab

AT_ONCE = 20


def pss(process) -> float:
    """Megabytes of a process and its children."""
    return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)]) / 1e6


def read(chapter, readers) -> dict:
    """Start a kernel and run a chapter as far as its first demo; the kernel lives as long as the stack `readers`.

    Gives its process, and the seconds from the start until it answered and until the demo was there.
    """
    begin = time.perf_counter()
    manager, client = start_new_kernel(kernel_name="python3", cwd=ROOT / "book")
    readers.callback(manager.shutdown_kernel, now=True)
    readers.callback(client.stop_channels)
    ready = time.perf_counter() - begin
    shown = set()

    def look(message):
        if message["msg_type"] == "error":
            raise RuntimeError("\n".join(message["content"]["traceback"]))
        shown.update(message["content"].get("data", ()))

    cells = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells
    for cell in cells:
        if cell.cell_type == "code" and WIDGET not in shown:
            client.execute_interactive(cell.source, output_hook=look)
    first_demo = time.perf_counter() - begin
    return {"process": psutil.Process(manager.provisioner.pid), "ready": ready, "first demo": first_demo}


def measure(chapter, count=1) -> dict:
    """Let `count` readers start one chapter at the same moment: the seconds of the last, the megabytes of all."""
    with ExitStack() as readers, ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda _: read(chapter, readers), range(count)))
        memory = sum(pss(reader["process"]) for reader in found)
    slowest = {key: max(reader[key] for reader in found) for key in ("ready", "first demo")}
    print(
        f"{count:3} of {chapter:16} ready after {slowest['ready']:6.1f} s, first demo after "
        f"{slowest['first demo']:6.1f} s, {memory:7.0f} MB",
        flush=True,
    )
    return {"chapter": chapter, "readers": count, "memory": memory} | slowest


def main():
    """Measure, and write book/hub.json."""
    record = {
        "command": "make bench-kernels",
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total / 1e6,
        "load": os.getloadavg()[0],  # of whatever else the machine was doing
        "device": "cpu",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "ipykernel", "jupyterlab")},
    }
    print(f"{record['cores']} cores, {record['memory']:.0f} MB, load before the start {record['load']:.1f}")
    os.environ["WEIGHTDECAY_DEVICE"] = "cpu"
    with start_lab() as lab:
        record["server"] = pss(psutil.Process(lab.pid))
    print(f"JupyterLab's server {record['server']:.0f} MB")
    chapters = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
    record["alone"] = [measure(chapter) for chapter in chapters]
    heaviest = max(record["alone"], key=lambda one: one["memory"])["chapter"]
    record["at once"] = [measure(chapter, AT_ONCE) for chapter in ("pytorch", heaviest)]
    (ROOT / "book" / "hub.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
