"""The loader of Fashion-MNIST, on small files made here, a server on this machine, and Debian's package."""

import gzip
import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from weightdecay import fashion_mnist
from weightdecay.data import FASHION_MNIST_FOLDERS, FASHION_MNIST_SHA256, FASHION_MNIST_URL, parse_idx

NAMES = list(FASHION_MNIST_SHA256)
DEBIAN = Path(FASHION_MNIST_FOLDERS[0])


def idx(array):
    """An IDX file, before compression."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(7)
    sizes = [(6, 4, 3), (6,), (5, 4, 3), (5,)]
    return {name: rng.integers(0, 256 if len(size) == 3 else 10, size) for name, size in zip(NAMES, sizes, strict=True)}


@pytest.fixture
def files(arrays):
    """What the server has: each gzipped."""
    return {f"{name}.gz": gzip.compress(idx(array)) for name, array in arrays.items()}


@pytest.fixture
def checksums(arrays):
    return {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}


@pytest.fixture
def server(files):
    """Serves `files`: `requests` lists what was asked for, `cut` bytes are held back, `length` says if announced."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/")
            server.requests.append(name)
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            if server.length:
                self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            self.wfile.write(files[name][: len(files[name]) - server.cut])

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.cut, server.length = [], 0, True
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No proxy between the loader and this machine, and no images that happen to be on it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("weightdecay.data.FASHION_MNIST_FOLDERS", [])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "weightdecay"


@pytest.fixture
def load(server, checksums, cache):
    return lambda *folder, **other: fashion_mnist(*folder, **{"base_url": server.url, "checksums": checksums} | other)


@pytest.fixture
def folder(tmp_path, arrays):
    """A reader's own folder: archives that are not the published ones, and a file that is not compressed."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, array in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array), 1, mtime=1))
    plain = folder / NAMES[1]
    (folder / f"{NAMES[1]}.gz").rename(plain)
    plain.write_bytes(idx(arrays[NAMES[1]]))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_are_flat_and_from_0_to_1(load, arrays):
    data = load()
    assert data.X_train.shape == (6, 12)
    assert data.X_test.shape == (5, 12)
    assert data.X_train.dtype == torch.get_default_dtype()
    assert data.y_train.dtype == torch.long
    for tensor, name in zip(data, NAMES, strict=True):
        scale = 255 if "images" in name else 1
        np.testing.assert_allclose(tensor * scale, arrays[name].reshape(tensor.shape), rtol=1e-6)


def test_a_second_call_asks_for_nothing(load, server, files, cache, capsys):
    first = load()
    assert server.requests == list(files)
    assert f"Downloading {server.url}/{NAMES[0]}.gz into {cache}." in capsys.readouterr().err
    second = load()
    assert server.requests == list(files)
    assert sorted(path.name for path in cache.iterdir()) == sorted(files)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_folder_is_only_read(load, server, folder, arrays):
    before = contents(folder.parent)
    data = load(folder)
    torch.testing.assert_close(data.X_test * 255, torch.tensor(arrays[NAMES[2]].reshape(5, 12)).float())
    assert contents(folder.parent) == before
    assert server.requests == []


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda path: path.unlink(), FileNotFoundError, f"has no file {NAMES[2]} or {NAMES[2]}.gz: name the folder"),
        (lambda path: path.write_bytes(b"my own"), ValueError, "has another content than Fashion-MNIST's"),
        (lambda path: path.write_bytes(gzip.compress(b"my own")), ValueError, "has another content"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), ValueError, "has another content"),
    ],
)
def test_what_is_wrong_in_a_folder_is_said_and_left_as_it_is(load, server, folder, spoil, error, sentence):
    spoil(folder / f"{NAMES[2]}.gz")
    before = contents(folder.parent)
    with pytest.raises(error, match=sentence) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert contents(folder.parent) == before
    assert server.requests == []


def test_images_that_are_there_already_are_taken_before_the_network(load, server, folder, cache, monkeypatch, tmp_path):
    monkeypatch.setattr("weightdecay.data.FASHION_MNIST_FOLDERS", [tmp_path / "nowhere", folder])
    before = contents(tmp_path)
    load()
    assert contents(tmp_path) == before
    assert server.requests == []
    (folder / NAMES[1]).write_bytes(b"my own")  # is passed over, and stays
    load()
    assert server.requests == [f"{NAMES[1]}.gz"]
    assert [path.name for path in cache.iterdir()] == server.requests
    assert (folder / NAMES[1]).read_bytes() == b"my own"


def test_a_spoilt_file_in_the_cache_is_fetched_again(load, server, files, cache):
    load()
    name = f"{NAMES[2]}.gz"
    (cache / name).write_bytes(b"spoilt")
    load()
    assert server.requests == [*files, name]
    assert (cache / name).read_bytes() == files[name]


@pytest.mark.parametrize("spoilt_before", [False, True])
def test_what_comes_with_another_content_is_thrown_away(load, checksums, cache, spoilt_before):
    cache.mkdir(parents=True)
    if spoilt_before:
        (cache / f"{NAMES[0]}.gz").write_bytes(b"spoilt")
    with pytest.raises(ValueError, match=r"has not the SHA256 checksum 0{64}: try again later"):
        load(checksums=checksums | {NAMES[0]: "0" * 64})
    assert len(list(cache.iterdir())) == spoilt_before


@pytest.mark.parametrize(
    ("announced", "error", "sentence"),
    [(True, ConnectionError, "broke off before its end"), (False, ValueError, "has not the SHA256 checksum")],
)
def test_a_truncated_download_is_noticed_and_removed(load, server, cache, announced, error, sentence):
    server.cut, server.length = 9, announced
    with pytest.raises(error, match=sentence):
        load()
    assert not list(cache.iterdir())
    server.cut = 0
    assert len(load().y_test) == 5


def test_without_a_network_one_sentence_says_so(load, cache):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        nobody = f"http://127.0.0.1:{closed.server_port}"
    with pytest.raises(ConnectionError, match=r"cannot be reached \(ConnectionError\): is there a network\?$"):
        load(base_url=nobody)
    assert not list(cache.iterdir())


def test_a_file_that_the_server_lacks_is_named(load, server):
    with pytest.raises(ConnectionError, match=r"/elsewhere/train-images.*cannot be had: the server answers 404\.$"):
        load(base_url=f"{server.url}/elsewhere")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not an IDX file"),
        (b"<html>no such page</html>", "is not an IDX file"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "is not an IDX file of unsigned bytes"),  # floats
        (bytes([0, 0, 8, 3, 0, 0, 0, 1]), "is not an IDX file"),
        (idx(np.zeros((2, 3)))[:-1], "announces 6 bytes of data and holds 5"),
    ],
)
def test_what_is_not_idx_is_refused(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_idx(content)


def test_idx_sizes_are_big_endian():
    array = parse_idx(b"\0\0\x08\x02\0\0\x01\x02\0\0\0\x01" + bytes(i % 256 for i in range(258)))
    assert array.shape == (258, 1)
    assert array[257, 0] == 1


def test_the_real_files_are_asked_for_over_https_with_checksums():
    assert FASHION_MNIST_URL.startswith("https://")
    assert [len(bytes.fromhex(checksum)) for checksum in FASHION_MNIST_SHA256.values()] == [32] * 4


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_images_are_the_real_ones_and_stay(tmp_path):
    folder = shutil.copytree(DEBIAN, tmp_path / "copy")  # a loader that writes shall not spoil the system's files
    before = contents(folder)
    data = fashion_mnist(folder)
    assert data.X_train.shape == (60_000, 784)
    assert data.X_test.shape == (10_000, 784)
    assert torch.bincount(data.y_train).tolist() == [6000] * 10
    assert contents(folder) == before
