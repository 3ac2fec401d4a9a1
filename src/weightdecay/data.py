"""Data sets of the chapters."""

import gzip
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

FASHION_MNIST_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


class Regression(NamedTuple):
    """Training and test data of a linear regression: inputs (n, d), targets (n, 1)."""

    X_train: torch.Tensor
    y_train: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


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


def fashion_mnist(
    cache: str | os.PathLike | None = None,
    *,
    base_url: str = FASHION_MNIST_URL,
    checksums: dict[str, str] = FASHION_MNIST_SHA256,
    device: torch.device | str = "cpu",
) -> Images:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 × 28 pixels, ten classes.

    The first call downloads 31 MB into the folder `cache` (by default the user's cache folder); later calls read
    the files there. Every call compares their SHA256 checksums with `checksums`, {file name: checksum} in the
    order training images, training labels, test images, test labels.

    Raises ConnectionError where a file cannot be downloaded whole and ValueError where its checksum or its content
    is wrong; neither leaves a file behind. After Xiao, Rasul and Vollgraf, arXiv:1708.07747.
    """
    import pooch  # here, since no other chapter needs it and it takes a sixth of a second

    folder = Path(cache or pooch.os_cache("weightdecay"))
    arrays = [read_idx(_download(f"{base_url}/{name}", sha256, folder / name)) for name, sha256 in checksums.items()]
    X_train, y_train, X_test, y_test = (torch.from_numpy(array).to(device) for array in arrays)
    return Images(X_train.flatten(1) / 255, y_train.long(), X_test.flatten(1) / 255, y_test.long())


def _download(url: str, sha256: str, path: Path) -> Path:
    """Return `path`, downloaded unless it is there with the right checksum."""
    import pooch
    import requests

    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent))
    except requests.exceptions.ChunkedEncodingError:
        problem = ConnectionError(f"The download of {url} broke off before its end: try again.")
    except requests.exceptions.HTTPError as error:
        problem = ConnectionError(f"{url} cannot be had: the server answers {error.response.status_code}.")
    except requests.exceptions.RequestException as error:
        problem = ConnectionError(f"{url} cannot be reached ({type(error).__name__}): is there a network?")
    except ValueError:
        problem = ValueError(f"{url} has not the SHA256 checksum {sha256}, so it was thrown away: try again later.")
    path.unlink(missing_ok=True)  # a file that was there had another checksum
    raise problem


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes, the format of MNIST and its relatives, as a uint8 array.

    Two zero bytes, the type (8 for unsigned bytes), the number of dimensions, the size of each as a big-endian
    32-bit integer, then the data. Raises ValueError for any other content.
    """
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08" or len(content) < 4 * (1 + content[3]):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes.")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    data = np.frombuffer(content, np.uint8, offset=4 * (1 + content[3]))
    if data.size != math.prod(shape):
        raise ValueError(f"{path} announces {math.prod(shape)} bytes of data and holds {data.size}.")
    return data.reshape(shape).copy()
