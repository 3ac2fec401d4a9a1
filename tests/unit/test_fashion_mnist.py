"""The loader of Fashion-MNIST, on small files made here and a server on this machine."""

import gzip
import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch

from weightdecay import fashion_mnist
from weightdecay.data import FASHION_MNIST_SHA256, FASHION_MNIST_URL, read_idx

NAMES = list(FASHION_MNIST_SHA256)


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
    return {name: gzip.compress(idx(array)) for name, array in arrays.items()}


@pytest.fixture
def checksums(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


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
def straight(monkeypatch):
    """No proxy between the loader and this machine, and no log lines."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    logging.getLogger("pooch").setLevel(logging.ERROR)


@pytest.fixture
def load(server, checksums, tmp_path):
    return lambda **other: fashion_mnist(tmp_path, **{"base_url": server.url, "checksums": checksums} | other)


def test_images_are_flat_and_from_0_to_1(load, arrays):
    data = load()
    assert data.X_train.shape == (6, 12)
    assert data.X_test.shape == (5, 12)
    assert data.X_train.dtype == torch.get_default_dtype()
    assert data.y_train.dtype == torch.long
    for tensor, name in zip(data, NAMES, strict=True):
        scale = 255 if "images" in name else 1
        np.testing.assert_allclose(tensor * scale, arrays[name].reshape(tensor.shape), rtol=1e-6)


def test_a_second_call_asks_for_nothing(load, server, tmp_path):
    first = load()
    assert server.requests == NAMES
    second = load()
    assert server.requests == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_spoilt_file_in_the_cache_is_fetched_again(load, server, files, tmp_path):
    load()
    (tmp_path / NAMES[2]).write_bytes(b"spoilt")
    load()
    assert server.requests == [*NAMES, NAMES[2]]
    assert (tmp_path / NAMES[2]).read_bytes() == files[NAMES[2]]


@pytest.mark.parametrize("spoilt_before", [False, True])
def test_a_wrong_checksum_leaves_no_file_behind(load, checksums, tmp_path, spoilt_before):
    if spoilt_before:
        (tmp_path / NAMES[0]).write_bytes(b"spoilt")
    with pytest.raises(ValueError, match=r"has not the SHA256 checksum 0{64}, so it was thrown away"):
        load(checksums=checksums | {NAMES[0]: "0" * 64})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("announced", "error", "sentence"),
    [(True, ConnectionError, "broke off before its end"), (False, ValueError, "has not the SHA256 checksum")],
)
def test_a_truncated_download_is_noticed_and_removed(load, server, tmp_path, announced, error, sentence):
    server.cut, server.length = 9, announced
    with pytest.raises(error, match=sentence):
        load()
    assert not list(tmp_path.iterdir())
    server.cut = 0
    assert len(load().y_test) == 5


def test_without_a_network_one_sentence_says_so(load, tmp_path):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        nobody = f"http://127.0.0.1:{closed.server_port}"
    with pytest.raises(ConnectionError, match=r"cannot be reached \(ConnectionError\): is there a network\?$"):
        load(base_url=nobody)
    assert not list(tmp_path.iterdir())


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
def test_what_is_not_idx_is_refused(tmp_path, content, sentence):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=sentence):
        read_idx(path)


def test_idx_sizes_are_big_endian(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x02\0\0\x01\x02\0\0\0\x01" + bytes(i % 256 for i in range(258))))
    array = read_idx(path)
    assert array.shape == (258, 1)
    assert array[257, 0] == 1


def test_the_real_files_are_asked_for_over_https_with_checksums():
    assert FASHION_MNIST_URL.startswith("https://")
    assert [len(bytes.fromhex(checksum)) for checksum in FASHION_MNIST_SHA256.values()] == [32] * 4
