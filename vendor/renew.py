"""Fetch the third-party scripts again, by package name and version, with npm. Run it from anywhere; needs npm.

Sizes matter: these files are part of the repository, and of what a reader downloads.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src" / "weightdecay" / "vendor"

# npm package and version: {file, or pattern of files, in the package: the file, or folder, where it goes}
FILES = {
    "uplot@1.6.32": {
        "dist/uPlot.iife.min.js": PACKAGE / "uPlot.iife.min.js",
        "dist/uPlot.min.css": PACKAGE / "uPlot.min.css",
        "LICENSE": PACKAGE / "uPlot.LICENSE",
    },
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.bundle.min.mjs": HERE / "onnxruntime/ort.wasm.bundle.min.mjs",
        "dist/ort-wasm-simd-threaded.wasm": HERE / "onnxruntime/ort-wasm-simd-threaded.wasm",
    },
    "katex@0.19.1": {
        "dist/katex.min.js": HERE / "katex/katex.min.js",
        "dist/katex.min.css": HERE / "katex/katex.min.css",
        "dist/fonts/*.woff2": HERE / "katex/fonts",
        "LICENSE": HERE / "katex/LICENSE",
    },
    "minisearch@7.2.0": {
        "dist/umd/index.js": HERE / "minisearch/minisearch.js",
        "LICENSE.txt": HERE / "minisearch/LICENSE.txt",
    },
}

for package, files in FILES.items():
    with tempfile.TemporaryDirectory() as folder:
        npm = ["npm", "pack", "--silent", package, "--pack-destination", folder]
        subprocess.run(npm, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        for source, target in files.items():
            (target if "*" in source else target.parent).mkdir(parents=True, exist_ok=True)
            for path in Path(folder, "package").glob(source):
                shutil.copy(path, target)
                print(f"{package}: {path.name}")
