"""Fashion-MNIST with a 784-256-128-10 net in PyTorch: test accuracy after each epoch.

    python fashion.py DIR [SEED]

DIR is searched for the four idx .gz files. Pixels are standardized one by one
with the mean and deviation of the training images; a pixel constant there
becomes 0. Default initial values, Adam, batches of 128, one thread.
"""

import gzip
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


def load(folder, part):
    def read(kind, header):
        path = next(Path(folder).rglob(f"{part}-{kind}-ubyte.gz"))
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)

    images = read("images-idx3", 16).reshape(-1, 784)
    labels = read("labels-idx1", 8)
    return images.astype(np.float64), torch.from_numpy(labels.astype(np.int64))


def main():
    folder, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)

    train, y = load(folder, "train")
    test, test_y = load(folder, "t10k")
    mean, std = train.mean(0), train.std(0)
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    x = torch.from_numpy((train - mean) * scale).float()
    test_x = torch.from_numpy((test - mean) * scale).float()

    net = nn.Sequential(
        nn.Linear(784, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(),
        nn.Linear(256, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(1, 11):
        start, total = time.perf_counter(), 0.0
        net.train()
        for rows in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            loss = loss_fn(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        seconds = time.perf_counter() - start
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(1) == test_y).double().mean().item()
        print(f"epoch {epoch:2}  loss {total / len(x):.4f}  test {accuracy:.4f}  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
