"""The demos and forms of a page as scripts that `host.js` shows, and what stands in for them.

MyST-NB would put the state of all widgets into the page and leave it to the widget manager, a
megabyte of scripts. Here the numbers of each demo are a file, and so is the module of
each kind of widget.
"""

import base64
import gzip
import hashlib
import io
import json
import math
import shutil
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.util import logging

VIEW = "application/vnd.jupyter.widget-view+json"
MODEL = "IPY_MODEL_"
RUNTIME = Path(__file__).parents[2] / "vendor" / "onnxruntime"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PIECE = 450_000  # bytes, of the runtime: so many scripts say how far its loading has got
SHOWN = {"VBoxModel", "SelectionSliderModel", "AnyModel"}  # by host.js
EXPORT = "export default { render };"
NEEDS = "needs JavaScript and a browser from spring 2022 or later."
SENTENCES = {
    "image/png": f"A still picture: the demo itself, which moves, {NEEDS}",
    "text/markdown": f"The form itself {NEEDS}",
}
logger = logging.getLogger(__name__)


def take_widgets(app, doctree):
    """Put a place for each demo where its script was, with what stands for it until then."""
    page = app.env.docname
    known = app.env.nb_metadata.get(page, {})
    _, state = known.get("js_files", {}).pop("ipywidgets_state", (None, None))
    if state is None:
        return
    models = json.loads(state["body"])["state"]
    scripts = known["demos"] = {}
    for bundle in list(doctree.findall(nodes.container)):
        parts = [part for part in bundle if isinstance(part, nodes.container)]
        shown = {part["mime_type"]: part for part in parts if "mime_type" in part}
        if VIEW not in shown:
            continue
        (view,) = shown[VIEW].findall(nodes.raw)
        root = json.loads(view.astext().split(">", 1)[1].rsplit("<", 1)[0])["model_id"]
        sentence = shown["text/plain"].astext()
        try:
            name, height = pack(page, root, models, scripts, sentence)
        except ValueError as error:
            logger.warning("%s", error, location=bundle)
            continue
        still = next(kind for kind in SENTENCES if kind in shown)
        picture = [node.deepcopy() for node in shown[still].children]
        for image in (one for node in picture for one in node.findall(nodes.image)):
            image["alt"] = sentence
        shown[VIEW].children = []
        shown[VIEW] += [
            *title_of(root, models),
            raw(f'<div class="wd-place" data-demo="{name}" style="{height}">'),
            raw('<div class="wd-still">'),
            *picture,
            nodes.paragraph("", SENTENCES[still]),
            raw("</div></div>"),
        ]


def title_of(root, models):
    """The title of a demo, by which exercises and links name it; a form has its heading."""
    for part in models[root]["state"].get("children", []):
        spec = models[part.removeprefix(MODEL)]["state"].get("spec", {})
        if spec.get("title") and "fields" not in spec:
            yield raw(f'<p class="wd-title">{escape(spec["title"])}</p>')


def pack(page, root, models, scripts, sentence):
    """Add the scripts of one demo; give the name of the first, and the demo's height as CSS.

    Raises ValueError, in one sentence, if host.js does not know one of the widgets.
    """
    used, modules, wanted = {}, {}, [root]
    while wanted:
        name = wanted.pop()
        state = dict(models[name]["state"])
        kind = state.get("_anywidget_id", state["_model_name"])
        if state["_model_name"] not in SHOWN:
            raise ValueError(f"The site cannot show a {kind}: teach host.js, or do without.")
        if "_esm" in state:
            modules[name] = bring(scripts, "widget", module(kind))
            del state["_esm"], state["_css"]
        buffers = models[name].get("buffers", [])
        if state.get("program"):
            state["program"], buffers = take_program(page, state["program"], buffers, scripts)
        used[name] = {"state": state, "buffers": buffers}
        parts = [*state.get("children", []), *state.get("sliders", [])]
        wanted += [part.removeprefix(MODEL) for part in parts]
    whole = {"root": root, "models": used, "modules": modules}
    demo = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return bring(scripts, page.rsplit("/", 1)[-1], demo), height_of(used, sentence)


def take_program(page, program, buffers, scripts):
    """Put what a page trains with into a script, which it fetches when it is to train."""
    own = [one | {"path": one["path"][1:]} for one in buffers if one["path"][0] == "program"]
    text = json.dumps({"state": program, "buffers": own}, separators=(",", ":"))
    name = bring(scripts, page.rsplit("/", 1)[-1] + "-program", text)
    known = {"name": name, "params": program["params"], "runtime": [*runtime()]}
    return known, [one for one in buffers if one["path"][0] != "program"]


@cache
def runtime():
    """Scripts with the runtime's module and, in pieces, its program, both packed."""
    files = [(RUNTIME / name).read_bytes() for name in RUNTIME_FILES]
    module, wasm = (gzip.compress(data, mtime=0) for data in files)
    pieces = [module, *(wasm[i : i + PIECE] for i in range(0, len(wasm), PIECE))]
    scripts = {}
    for piece in pieces:
        bring(scripts, "runtime", json.dumps(base64.b64encode(piece).decode()))
    return scripts


def height_of(used, sentence):
    """About how high a demo will be on a desk and on a phone, so that nothing moves then.

    As CSS, in rem; for lines of so many characters, panels side by side, and the height of one.
    """
    states = [one["state"] for one in used.values()]
    sliders = [state for state in states if "_options_labels" in state]
    state = next((state for state in states if "spec" in state), {"spec": {}})
    spec = state["spec"]
    heights = {}
    screens = {"desk": (86, 3, 16.25), "phone": (36, 1, 10.32)}
    for place, (width, beside, chart) in screens.items():
        desk = place == "desk"
        high = 2.3 * len(sliders)
        if "fields" in spec:
            high += 4.2 * math.ceil(len(spec["fields"]) / (3 if desk else 2))
            high += find(state["_anywidget_id"]).lines * (1.6 if desk else 2.5)
        else:
            said = sentence.rpartition("; ")[2]  # the names before it stand in the legend
            # The sliders that only a training has are not in it yet.
            for one in sliders:
                if f"{one['description']} = " not in said:
                    said += f"{one['description']} = {one['_options_labels'][0]}, "
            high += 2.6 + 1.3 * math.ceil(len(said) / width)
        for row in batched(spec.get("panels", []), beside):
            names = max(
                len(panel["label"]) + sum(len(one["name"]) + 9 for one in panel["series"])
                for panel in row
            )
            high += chart + 0.5 + 1.4 * math.ceil(names * len(row) / width)
        if "frames" in spec:
            across, down = size_of_frame(used)
            high += 0.9 + down / across * min(across, 800 if desk else 343) / 16
        # The picture that stands for it takes as much on a desk.
        heights[place] = max(high, 25.4 if desk else 0)
    return "; ".join(f"--{place}: {high:.1f}rem" for place, high in heights.items())


def batched(parts, size):
    """Lists of so many parts, the last perhaps shorter."""
    return [parts[i : i + size] for i in range(0, len(parts), size)]


def size_of_frame(used):
    """Width and height in pixels of the first picture of a demo."""
    buffers = [buffer for one in used.values() for buffer in one["buffers"]]
    data = next(one["data"] for one in buffers if one["path"][:2] == ["spec", "frames"])
    return Image.open(io.BytesIO(base64.b64decode(data))).size


def find(widget):
    """A class of widgets by its full name."""
    home, _, name = widget.rpartition(".")
    return getattr(import_module(home), name)


def module(widget):
    """The module of a class of widgets as an expression: a page from a disk can import none."""
    text = str(find(widget)._esm).rstrip()
    if not text.endswith(EXPORT):
        raise ValueError(f"The module of {widget} has to end in: {EXPORT}")
    return f"(() => {{\n{text.removesuffix(EXPORT)}return {{ render }};\n}})()"


def bring(scripts, title, expression):
    """Add a script that hands over an expression, under a name that changes with it."""
    name = f"{title}-{hashlib.sha256(expression.encode()).hexdigest()[:8]}"
    scripts[name] = f"weightdecay.bring({json.dumps(name)}, {expression});\n"
    return name


def write_scripts(app, exception):
    """Write what all pages have, those too that were not built anew."""
    if exception or app.builder.name != "html":
        return
    folder = Path(app.outdir, "_static", "demos")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scripts = {}
    for page in app.env.nb_metadata.values():
        scripts |= page.get("demos", {})
    if any("-program-" in name for name in scripts):
        scripts |= runtime()
    for name, text in scripts.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")


def raw(text):
    return nodes.raw("", text, format="html")


def setup(app):
    app.connect("doctree-read", take_widgets)
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
