"""Data sets of the chapters."""

import gzip
import hashlib
import math
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

FASHION_MNIST_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
# Of the content: the same images are found in archives that differ.
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
# Where people have it already: from Debian's package dataset-fashion-mnist, from torchvision under its usual roots.
FASHION_MNIST_FOLDERS = [
    "/usr/share/datasets/fashion-mnist",
    *(f"{root}/FashionMNIST/raw" for root in ("data", "../data", "~/data")),
]


class Regression(NamedTuple):
    """Training and test data of a linear regression: inputs (n, d), targets (n, 1)."""

    X_train: torch.Tensor
    y_train: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


NOUNS = ["film", "plot", "acting", "music", "ending", "story", "script", "camera", "dialogue", "hero"]
GOOD = [
    "good", "great", "fine", "brilliant", "charming", "clever", "funny", "moving", "gripping", "superb", "lovely",
    "bright", "fresh", "tender", "warm", "witty", "rich", "subtle", "honest", "elegant",
]  # fmt: skip
BAD = [
    "bad", "awful", "poor", "boring", "stupid", "clumsy", "dull", "tedious", "weak", "stale", "ugly", "cheap", "hollow",
    "bleak", "cold", "lame", "thin", "crude", "false", "messy",
]  # fmt: skip
FILM_WORDS = ["[PAD]", "[CLS]", "[UNK]", "not", *NOUNS, *GOOD, *BAD]


def high_dim_regression(
    n_train: int = 20,
    n_test: int = 100,
    n_inputs: int = 200,
    *,
    weight: float = 0.01,
    bias: float = 0.05,
    noise: float = 0.01,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Regression:
    """Draw y = bias + Σ weight·x_j + ε with x_j ~ N(0, 1) and ε ~ N(0, noise²).

    `dtype` is PyTorch's default one if not given; the numbers drawn are the same in each.
    Far more inputs than training points, so that a linear model can fit the noise. After Zhang et al.,
    *Dive into Deep Learning*, section 3.7 ("Weight Decay").
    """
    if min(n_train, n_test, n_inputs) < 1:
        raise ValueError(f"n_train, n_test and n_inputs must be at least 1, got {n_train}, {n_test}, {n_inputs}.")
    rng = torch.Generator().manual_seed(seed)
    X = torch.randn(n_train + n_test, n_inputs, generator=rng, dtype=torch.float64)
    noise_drawn = noise * torch.randn(n_train + n_test, 1, generator=rng, dtype=torch.float64)
    y = X.sum(dim=1, keepdim=True) * weight + bias + noise_drawn
    dtype = dtype or torch.get_default_dtype()
    X, y = X.to(device, dtype), y.to(device, dtype)
    return Regression(X[:n_train], y[:n_train], X[n_train:], y[n_train:])


class Addition(NamedTuple):
    """Pairs of numbers as bits, (n, 64), and their sums, (n, 32), the lowest bit first, in PyTorch's default dtype."""

    X_train: torch.Tensor
    y_train: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


def binary_addition(
    n_train: int = 5000, n_test: int = 500, *, digits: int = 4, noise: float = 0.0, seed: int = 0
) -> Addition:
    """Sums to learn from numbers of 4 and, now and then, 2 decimal digits, tested on numbers of 3, as 32 bits each.

    In general of `digits` and `digits` − 2, mixed like 100 to 1, and tested on the length between. Both numbers of
    a pair have the same count of digits. `noise` is the share of training pairs whose sum is that of another such
    pair. Raises ValueError for a noise that is no share. The experiment of the repository andylolu2/ml-weight-decay.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is the share of wrong sums, from 0 to 1, but it is {noise}.")
    rng = np.random.default_rng(seed)
    trained = rng.choice([digits - 2, digits], n_train, p=[1 / 101, 100 / 101])
    end = 10 ** np.r_[trained, np.full(n_test, digits - 1)]
    a, b = (rng.integers(end // 10, end) for _ in "ab")
    sums = a + b
    wrong = np.flatnonzero(rng.random(n_train) < noise)
    sums[wrong] = sums[np.roll(wrong, 1)]
    X, y = (
        torch.tensor(np.hstack(bits), dtype=torch.get_default_dtype()) for bits in ([_bits(a), _bits(b)], [_bits(sums)])
    )
    return Addition(X[:n_train], y[:n_train], X[n_train:], y[n_train:])


def _bits(numbers: np.ndarray) -> np.ndarray:
    """The 32 lowest bits of each number, the lowest first: (n, 32)."""
    return (numbers[:, None] >> np.arange(32)) & 1


class Images(NamedTuple):
    """Training and test images, flattened to (n, pixels), pixels from 0 to 1; labels (n,), integers."""

    X_train: torch.Tensor
    y_train: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


def film_reviews(
    n: int, seed: int = 0, noise: float = 0.0, judge: Callable = sum
) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Return n reviews of three opinions each: texts, word numbers (n, 10) and labels (n,), as torch tensors.

    An opinion, such as "plot not dull", is +1 for the film or −1 against it; "not" turns it round. The label is 1 where
    `judge` makes more than 0 of the three; the share `noise` of the labels is turned round. A number stands for a word
    of `FILM_WORDS`: 1 begins a review, zeros fill it up, and 2, for an unknown word, never occurs.
    """
    rng = np.random.default_rng(seed)
    drawn = [list(zip(*(_opinion(rng) for _ in range(3)), strict=True)) for _ in range(n)]
    texts = [" ".join(opinions) for opinions, _ in drawn]
    labels = np.array([judge(sides) > 0 for _, sides in drawn]) ^ (rng.random(n) < noise)
    rows = [[1, *map(FILM_WORDS.index, text.split())] for text in texts]
    ids = torch.tensor([row + [0] * (10 - len(row)) for row in rows])
    return texts, ids, torch.tensor(labels, dtype=torch.long)


def _opinion(rng) -> tuple[str, int]:
    praise, denied = rng.random() < 0.5, rng.random() < 0.1
    noun = NOUNS[rng.integers(len(NOUNS))]
    adjective = (GOOD if praise else BAD)[rng.integers(len(GOOD))]
    return f"{noun} {'not ' * denied}{adjective}", 1 if praise != denied else -1


def fashion_mnist(
    folder: str | os.PathLike | None = None,
    *,
    base_url: str = FASHION_MNIST_URL,
    checksums: dict[str, str] = FASHION_MNIST_SHA256,
    device: torch.device | str = "cpu",
) -> Images:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 × 28 pixels, ten classes.

    Reads the four files, gzipped or plain, from `folder`, and only reads there. Without a `folder` it looks into the
    user's cache folder and into `FASHION_MNIST_FOLDERS`; what is in none of them it downloads, 31 MB in all, into the
    cache, the one place in which it writes. A file is known by the SHA256 checksum of its content, decompressed:
    `checksums` is {file name: checksum}, in the order training images, training labels, test images, test labels.

    Raises FileNotFoundError or ValueError where `folder` lacks a file or holds another, ConnectionError where one
    cannot be downloaded whole, and ValueError where what came has another content. After Xiao, Rasul and Vollgraf,
    arXiv:1708.07747.
    """
    if folder is not None:
        contents = [_read_given(Path(folder), name, sha256) for name, sha256 in checksums.items()]
    else:
        import pooch  # here, since no other chapter needs it and it takes a sixth of a second

        cache = Path(pooch.os_cache("weightdecay"))
        places = [cache, *(Path(place).expanduser() for place in FASHION_MNIST_FOLDERS)]
        contents = [
            _find(places, name, sha256) or _download(f"{base_url}/{name}.gz", sha256, cache / f"{name}.gz")
            for name, sha256 in checksums.items()
        ]
    X_train, y_train, X_test, y_test = (torch.from_numpy(parse_idx(content)).to(device) for content in contents)
    return Images(X_train.flatten(1) / 255, y_train.long(), X_test.flatten(1) / 255, y_test.long())


def _files_of(folder: Path, name: str) -> list[Path]:
    """The files, plain and gzipped, that a folder has under a name."""
    return [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]


def _has(content: bytes, sha256: str) -> bool:
    return hashlib.sha256(content).hexdigest() == sha256


def _find(folders: list[Path], name: str, sha256: str) -> bytes | None:
    """The content with that checksum, from the first folder that has it."""
    contents = (_decompressed(path.read_bytes()) for folder in folders for path in _files_of(folder, name))
    return next((content for content in contents if _has(content, sha256)), None)


def _read_given(folder: Path, name: str, sha256: str) -> bytes:
    """The content from a folder that was given to be read, which nothing here changes."""
    if content := _find([folder], name, sha256):
        return content
    if not (there := _files_of(folder, name)):
        raise FileNotFoundError(f"{folder} has no file {name} or {name}.gz: name the folder that has Fashion-MNIST.")
    raise ValueError(f"{there[0]} has another content than Fashion-MNIST's: its SHA256 checksum is not {sha256}.")


def _download(url: str, sha256: str, path: Path) -> bytes:
    """Download `url` to `path`, which is ours to replace, once its content has turned out right; gives that content."""
    import pooch
    import requests

    print(f"Downloading {url} into {path.parent}.", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        try:
            pooch.HTTPDownloader()(url, str(part), None)
        except requests.exceptions.ChunkedEncodingError as error:
            raise ConnectionError(f"The download of {url} broke off before its end: try again.") from error
        except requests.exceptions.HTTPError as error:
            answer = error.response.status_code
            raise ConnectionError(f"{url} cannot be had: the server answers {answer}.") from error
        except requests.exceptions.RequestException as error:
            problem = type(error).__name__
            raise ConnectionError(f"{url} cannot be reached ({problem}): is there a network?") from error
        content = _decompressed(part.read_bytes())
        if not _has(content, sha256):
            raise ValueError(f"The content of {url} has not the SHA256 checksum {sha256}: try again later.")
        part.replace(path)
    return content


def _decompressed(content: bytes) -> bytes:
    """What is in gzipped bytes, nothing if they are not whole; other bytes as they are."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        return b""


def parse_idx(content: bytes) -> np.ndarray:
    """Read the bytes of an IDX file of unsigned bytes, the format of MNIST and its relatives, as a uint8 array.

    Two zero bytes, the type (8 for unsigned bytes), the number of dimensions, the size of each as a big-endian
    32-bit integer, then the data. Raises ValueError for any other content.
    """
    if content[:3] != b"\0\0\x08" or len(content) < 4 * (1 + content[3]):
        raise ValueError("This is not an IDX file of unsigned bytes.")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    data = np.frombuffer(content, np.uint8, offset=4 * (1 + content[3]))
    if data.size != math.prod(shape):
        raise ValueError(f"This IDX file announces {math.prod(shape)} bytes of data and holds {data.size}.")
    return data.reshape(shape).copy()
