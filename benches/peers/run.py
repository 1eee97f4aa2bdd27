"""minilote beside PyTorch and Burn: checks that all train the same, then times them in turns.

    cargo build --release
    (cd benches/peers/burn && cargo build --release)        # half an hour on two cores
    python benches/peers/run.py --minilote target/release/minilote --burn benches/peers/burn/target/release/burn-peer

Needs torch and safetensors; without --burn it leaves Burn out. For each of the networks of `minilote bench` that
are named, with batch normalization and SGD:

1. The same synthetic rows and initial weights go to `minilote train`, to PyTorch and to Burn, and the losses
   of the first 50 steps must agree to 1e-3.
2. Rounds of `minilote bench`, PyTorch with one thread and with two, and Burn's CPU backend flex, one after the
   other. Then, with --gpu, of `minilote bench --device gpu` and Burn's wgpu, without the wide net, whose rows Burn
   binds as one buffer that is more than llvmpipe has. A step picks the rows of a shuffled minibatch, runs forward
   and backward, and updates. The better number of PyTorch's threads counts.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from torch import nn

# inputs, hidden, outputs, batch
NETS = {
    "tiny": (30, (32, 32), 2, 32),
    "small": (784, (100, 100), 10, 60),
    "medium": (784, (512, 512), 10, 128),
    "wide": (784, (1024, 1024), 10, 512),
}
CHECKED_STEPS = 50
TOLERANCE = 1e-3
TIMED_STEPS = 128
LR = 0.01


def make_net(name):
    width, hidden, outputs, _ = NETS[name]
    layers = []
    for units in hidden:
        layers += [nn.Linear(width, units, bias=False), nn.BatchNorm1d(units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def make_data(name, steps):
    """Bytes for images, standardized reals for a table, and classes; all of them noise."""
    inputs, _, outputs, batch = NETS[name]
    rows = steps * batch
    generator = torch.Generator().manual_seed(1)
    if inputs == 784:
        x = torch.randint(0, 256, (rows, inputs), generator=generator, dtype=torch.uint8)
    else:
        x = torch.randn(rows, inputs, generator=generator)
    return x, torch.randint(0, outputs, (rows,), generator=generator)


def write_idx(path, values):
    sizes = [len(values), 28, 28] if values.dim() == 2 else [len(values)]
    head = bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    path.write_bytes(head + values.to(torch.uint8).numpy().tobytes())


def write_data(folder, x, y):
    """The file of images or the table, and the flags that go with it."""
    if x.dtype == torch.uint8:
        path = folder / "images-idx3-ubyte"
        write_idx(path, x)
        write_idx(folder / "labels-idx1-ubyte", y)
        return path, []
    path = folder / "table.csv"
    names = [f"x{i}" for i in range(x.shape[1])] + ["class"]
    lines = [",".join(map(repr, row)) + f",{label}" for row, label in zip(x.tolist(), y.tolist())]
    path.write_text("\n".join([",".join(names)] + lines) + "\n")
    return path, ["--target", "class", "--task", "classification"]


def step(net, optimizer, x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def minilote_losses(minilote, name, net, x, y):
    _, hidden, _, batch = NETS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_file(net.state_dict(), folder / "init.safetensors")
        path, flags = write_data(folder, x, y)
        command = [
            minilote, "train", path, *flags, "--device", "cpu", "--init-weights", folder / "init.safetensors",
            "--hidden", ",".join(map(str, hidden)), "--batch", batch, "--order", "sequential",
            "--standardize", "none", "--optimizer", "sgd", "--lr", LR, "--valid", 0, "--test", 0,
            "--epochs", 1, "--log", "step", "--quiet", "--json", "--out", folder / "run",
        ]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        lines = map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if line["event"] == "step"]


def burn_losses(burn, device, name, net, x, y):
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    parts = [linear.weight.detach().T for linear in linears] + [linears[-1].bias.detach(), x, y]
    with tempfile.NamedTemporaryFile() as file:
        for part in parts:
            file.write(part.float().contiguous().numpy().astype("<f4").tobytes())
        file.flush()
        command = [burn, device, name, "losses", file.name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(map(float, output.split()))


def check(minilote, burn, name):
    """The largest relative difference of the losses from PyTorch's, of each of the others."""
    torch.manual_seed(0)
    net = make_net(name)
    x, y = make_data(name, CHECKED_STEPS)
    ours = {"minilote": minilote_losses(minilote, name, net, x, y)}
    if burn:
        ours["Burn flex"] = burn_losses(burn, "flex", name, net, x, y)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    batches = zip(x.float().split(NETS[name][3]), y.split(NETS[name][3]))
    theirs = [step(net, optimizer, *batch).item() for batch in batches]
    assert all(len(losses) == CHECKED_STEPS for losses in [theirs, *ours.values()])
    return {who: max(abs(a - b) / abs(b) for a, b in zip(losses, theirs)) for who, losses in ours.items()}


class Peer:
    """PyTorch in training, ready to be timed."""

    def __init__(self, name):
        torch.manual_seed(0)
        self.net = make_net(name)
        # One kernel for all parameters: the fastest of PyTorch's ways.
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=LR, fused=True)
        x, self.y = make_data(name, TIMED_STEPS)
        x = x.float()
        self.x = (x - x.mean(0)) / x.std(0)
        self.batch = NETS[name][3]

    def steps_per_second(self, threads, seconds):
        torch.set_num_threads(threads)
        started, steps, loss = time.perf_counter(), 0, torch.zeros(())
        while True:
            for rows in torch.randperm(len(self.x)).split(self.batch):
                loss += step(self.net, self.optimizer, self.x[rows], self.y[rows])
                steps += 1
                elapsed = time.perf_counter() - started
                if elapsed >= seconds:
                    return steps / elapsed


class Burn:
    """Burn in training on a device, ready to be timed: it answers each line with a rate."""

    def __init__(self, burn, device, name, seconds):
        command = [burn, device, name, "rate", str(seconds)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def steps_per_second(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def bench(minilote, device, name, seconds):
    command = [minilote, "bench", "--device", device, "--net", name, "--seconds", str(seconds), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return next(row["steps_per_second"] for row in json.loads(output)["rows"] if row["norm"] == "before")


def compare_on_cpu(arguments, name):
    peer, seconds = Peer(name), arguments.seconds
    ways = {
        "minilote": lambda: bench(arguments.minilote, "cpu", name, seconds),
        "PyTorch, 1 thread": lambda: peer.steps_per_second(1, seconds),
        "PyTorch, 2 threads": lambda: peer.steps_per_second(2, seconds),
    }
    for threads in (1, 2):
        peer.steps_per_second(threads, seconds / 4)
    burn = arguments.burn and Burn(arguments.burn, "flex", name, seconds)
    if burn:
        ways["Burn flex"] = burn.steps_per_second
    ours, one, two, *flex = measure(ways, arguments.rounds)
    print(f"  minilote / PyTorch's better: {ours / max(one, two):.2f}", flush=True)
    if burn:
        print(f"  minilote / Burn flex: {ours / flex[0]:.2f}", flush=True)
        burn.close()


def compare_on_gpu(arguments, name):
    burn = Burn(arguments.burn, "wgpu", name, arguments.seconds)
    ways = {
        "minilote on GPU": lambda: bench(arguments.minilote, "gpu", name, arguments.seconds),
        "Burn wgpu": burn.steps_per_second,
    }
    ours, theirs = measure(ways, arguments.rounds)
    print(f"  minilote / Burn wgpu: {ours / theirs:.2f}", flush=True)
    burn.close()


def measure(ways, rounds):
    """The medians of rounds in turns."""
    rates = {way: [] for way in ways}
    for _ in range(rounds):
        for way, measure in ways.items():
            rates[way].append(measure())
    for way, values in rates.items():
        print(f"  {way:18} {median(values):8.1f} steps/s ({min(values):.1f} – {max(values):.1f})")
    return [median(values) for values in rates.values()]


def main():
    parser = argparse.ArgumentParser(description="minilote beside PyTorch and Burn")
    parser.add_argument("--minilote", required=True, help="path to the release binary")
    parser.add_argument("--burn", help="path to burn-peer; without it Burn is left out")
    parser.add_argument("--gpu", action="store_true", help="compare the GPU paths with Burn's, too")
    parser.add_argument("--net", action="append", choices=NETS, help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement in a round")
    arguments = parser.parse_args()
    if arguments.gpu and not arguments.burn:
        sys.exit("--gpu needs --burn: the GPU paths are compared with Burn's")
    print(f"PyTorch {torch.__version__}, SGD, batch normalization, {arguments.rounds} rounds")
    apart = []
    for name in arguments.net or NETS:
        for who, difference in check(arguments.minilote, arguments.burn, name).items():
            print(f"{name}: losses of {CHECKED_STEPS} steps of {who} differ from PyTorch's by {difference:.1e}", flush=True)
            if not difference <= TOLERANCE:
                apart.append(f"{name} of {who}")
        compare_on_cpu(arguments, name)
        if arguments.gpu and name != "wide":
            compare_on_gpu(arguments, name)
    if apart:
        sys.exit(f"the losses of {', '.join(apart)} differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
