"""What `make lighthouse` prints: each page of the built site on Lighthouse's default phone, held to floors.

Lighthouse comes from npm and needs Node. Every page is measured three times, and the medians count. Times depend on the
machine: run it on a quiet one. `python tests/lighthouse.py book/pytorch index` measures some pages only.
"""

import functools
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).parent / "browser"))
from chromium import HOW_TO_GET_ONE, find_chromium

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
HOME = ROOT / "_build" / "lighthouse"
VERSION = "12.8.2"
RUNS = 3
# column: (category, or audit and what its number is divided by; the worst that will do; how it is printed)
FLOORS = {
    "performance": ("performance", 97, "{:.0f}"),
    "accessibility": ("accessibility", 100, "{:.0f}"),
    "practices": ("best-practices", 100, "{:.0f}"),
    "seo": ("seo", 100, "{:.0f}"),
    "first s": (("first-contentful-paint", 1000), 1.8, "{:.2f}"),
    "largest s": (("largest-contentful-paint", 1000), 1.8, "{:.2f}"),
    "blocked ms": (("total-blocking-time", 1), 100, "{:.0f}"),
    "shift": (("cumulative-layout-shift", 1), 0.02, "{:.3f}"),
    "kB": (("total-byte-weight", 1000), 250, "{:.0f}"),
}


class Server(SimpleHTTPRequestHandler):
    """Serves text compressed, as hosts of static pages do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            return self.send_error(404)
        kind = self.guess_type(path)
        body, packed = pack(path, kind.startswith("text/") or kind.endswith(("json", "xml", "javascript")))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(body))
        self.send_header("Cache-Control", "max-age=600")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@functools.cache
def pack(path, text):
    """The bytes of a file, and whether they are compressed."""
    body = path.read_bytes()
    return (gzip.compress(body), True) if text else (body, False)


def install():
    """Lighthouse's program, fetched by the first run."""
    if not (shutil.which("node") and shutil.which("npm")):
        sys.exit("make lighthouse needs Node, with npm: install it (Debian: apt-get install nodejs npm) and try again.")
    program = HOME / VERSION / "node_modules" / "lighthouse" / "cli" / "index.js"
    if not program.exists():
        print(f"fetching Lighthouse {VERSION} ...", file=sys.stderr)
        npm = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", HOME / VERSION]
        subprocess.run([*npm, f"lighthouse@{VERSION}"], check=True, stdout=subprocess.DEVNULL)
    return program


def measure(program, address):
    """One run on a page: {column: number}."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = ["node", program, address, "--quiet", "--output=json", f"--output-path={report}"]
        command += ["--chrome-flags=--headless=new --no-sandbox --no-first-run --disable-background-networking"]
        subprocess.run(command, check=True, env=os.environ | {"CHROME_PATH": find_chromium()})
        answer = json.loads(report.read_text(encoding="utf-8"))

    def number(source):
        if isinstance(source, str):
            return 100 * (answer["categories"][source]["score"] or 0)
        return answer["audits"][source[0]]["numericValue"] / source[1]

    return {column: number(source) for column, (source, _, _) in FLOORS.items()}


def is_met(column, value):
    """Scores have to be as high as their floor, and all else as low."""
    source, floor, _ = FLOORS[column]
    return value >= floor - 1e-9 if isinstance(source, str) else value <= floor


def main(pages):
    if not HTML.is_dir():
        sys.exit("There is no site in _build/html: run `make book` first.")
    if find_chromium() is None:
        sys.exit(HOW_TO_GET_ONE)
    program, missed = install(), 0
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [one["file"] for part in contents["parts"] for one in part["chapters"]]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"{'median of ' + str(RUNS):22}" + "".join(f"{column:>15}" for column in FLOORS))
    for page in pages or ["index", *chapters]:
        address = f"http://127.0.0.1:{server.server_port}/" + ("" if page == "index" else f"{page}.html")
        runs = [measure(program, address) for _ in range(RUNS)]
        medians = {column: statistics.median(run[column] for run in runs) for column in FLOORS}
        cells = [
            FLOORS[column][2].format(value) + ("  " if is_met(column, value) else " !")
            for column, value in medians.items()
        ]
        missed += sum(not is_met(column, value) for column, value in medians.items())
        print(f"{page:22}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    floors = [("≥ " if isinstance(source, str) else "≤ ") + f"{floor:g}  " for source, floor, _ in FLOORS.values()]
    print(f"{'floor':22}" + "".join(f"{floor:>15}" for floor in floors))
    sys.exit(f"{missed} figures miss their floor (marked !)." if missed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
