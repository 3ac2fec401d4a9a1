"""Run the chapters at the same time, before MyST-NB reads them and finds them in its cache."""

from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor


def run_chapters(app):
    """Run what is not in the cache yet. What fails runs again, and is reported, when read."""
    cache = get_cache(Path(app.outdir).parent / ".jupyter_cache")
    paths = Path(app.srcdir, "book").glob("*.ipynb")
    load_executor("local-parallel", cache).run_and_cache(
        filter_pks=[cache.add_nb_to_project(str(path)).pk for path in paths],
        timeout=app.config.nb_execution_timeout,
    )


def setup(app):
    app.connect("builder-inited", run_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
