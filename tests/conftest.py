import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def torch_settings():
    """Chapters choose PyTorch's threads, precision and handling of tiny numbers; no module leaves that to the next."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_flush_denormal(False)
