"""The fixtures of the browser tests: a browser, the site, JupyterLab, and pages on which nothing may go wrong."""

import shutil
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from servers import DESK, ZIP, open_browser, open_page, serve_site, start_lab

expect.set_options(timeout=15_000)  # a slow machine is no error


@pytest.fixture(scope="session")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The address of the site, by scheme: as it was built, and unpacked from the zip for classrooms."""
    stick = tmp_path_factory.mktemp("stick")
    shutil.unpack_archive(ZIP, stick)
    with serve_site() as address:
        yield {"http": address, "file": f"{stick.as_uri()}/"}


@pytest.fixture(scope="session")
def lab():
    with start_lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def watched(browser):
    """Makes a page that may talk to one address only; leaving it fails on all that went wrong meanwhile."""

    @contextmanager
    def watched(address, **options):
        context = browser.new_context(**options)
        page = context.new_page()
        problems = []

        def stop_at_the_border(route):
            if own(route.request.url):
                route.continue_()
            else:
                problems.append(f"asked another host: {route.request.url}")
                route.abort()

        def own(url):
            return urlsplit(url).netloc in ("", urlsplit(address).netloc)  # data:, blob: and file: name no host

        def overtaken(request):  # a picture whose slider has moved on, or the icon of a page that was left
            passing = request.url.startswith("blob:") or request.url.endswith("/favicon.svg")
            return passing and request.failure == "net::ERR_ABORTED"

        context.route("**/*", stop_at_the_border)
        page.on("websocket", lambda socket: own(socket.url) or problems.append(f"asked another host: {socket.url}"))
        page.on("response", lambda answer: answer.status < 400 or problems.append(f"{answer.status}: {answer.url}"))
        page.on("requestfailed", lambda one: overtaken(one) or problems.append(f"{one.failure}: {one.url}"))
        page.on("console", lambda said: said.type != "error" or problems.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        try:
            yield page
            assert not problems
        finally:
            context.close()

    return watched


@pytest.fixture
def visit(site, watched):
    """Opens a page of the site, waits until its demos are drawn, and fails the test if anything goes wrong there."""
    with ExitStack() as pages:

        def visit(name, scheme="http", **options):
            page = pages.enter_context(watched(site[scheme], offline=scheme == "file", **(DESK | options)))
            open_page(page, site[scheme], name)
            return page

        yield visit
