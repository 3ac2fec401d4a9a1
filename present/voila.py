"""How `make present` serves the chapters: their demos, without code, to this machine only."""

import os
from pathlib import Path

import nbformat
import yaml

HERE = Path(__file__).parent
os.environ["JUPYTER_PATH"] = str(HERE)  # where Voilà finds the template


def add_chapters(page_config, **_):
    """Tell the first page the notebooks and titles of the chapters, in the order of the book."""
    chapters = yaml.safe_load((HERE.parent / "_toc.yml").read_text())["parts"][0]["chapters"]
    paths = [HERE.parent / f"{chapter['file']}.ipynb" for chapter in chapters]
    page_config["chapters"] = [
        (path.name, nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# "))
        for path in paths
    ]
    return page_config


c = get_config()  # noqa: F821
c.Voila.ip = "127.0.0.1"
c.Voila.root_dir = str(HERE.parent / "book")
c.VoilaConfiguration.template = "book"
c.VoilaConfiguration.classic_tree = True
c.VoilaConfiguration.progressive_rendering = True  # a demo appears when its cell has run, not the whole chapter
c.VoilaConfiguration.page_config_hook = add_chapters
# A page that is left ends its kernel; this is for those that vanished.
c.MappingKernelManager.cull_idle_timeout = 120
c.MappingKernelManager.cull_interval = 30
