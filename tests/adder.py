"""The network of the chapter on binary addition as PyTorch's own layers, one network at a time."""

import torch
from torch import nn


class PlainAdder(nn.Module):
    """Inputs (batch, 64) to outputs (batch, 32); the layers have the names of the chapter's stack."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, width),
                nn.BatchNorm1d(width, eps=eps),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.BatchNorm1d(width, eps=eps),
            )
            for _ in range(2)
        )
        self.last = nn.Linear(width, 32)

    def forward(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = (h + block(h)).relu()
        return self.last(h).sigmoid()

    def copy_from(self, stack, k):
        """Take the weights of network k of a stack."""
        with torch.no_grad():
            for mine, its in zip(self.parameters(), stack.parameters(), strict=True):
                mine.copy_(its[k].reshape(mine.shape))
        return self


def train_plain(net, optimizer, X, y, num_steps, batch_size=64):
    """Train one network on X (n, 64) and y (n, 32), the whole batches in their order."""
    for step in range(num_steps):
        at = step % (len(X) // batch_size) * batch_size
        loss = ((net(X[at : at + batch_size]) - y[at : at + batch_size]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
