"""The published CIFAR-10 record as one would bring it to a CPU in an afternoon: plain PyTorch, nothing of steepest.

    python bench/plain_port.py [--every-easy-fix] [--bfloat16] [--seed 0] [--data-dir DIR] [--steps N] [--rates]
                               [--json]

Network and recipe are those of K. Jordan's airbench94_muon (https://github.com/KellerJordan/cifar10-airbench), written
anew: float32, channels_last, eager, batches of 2000 in one piece, PyTorch's memory allocator as it is, places of pooled
maxima in int64. `--every-easy-fix` has what a few lines bring: freed memory is kept (mallopt), and a batch goes through
in parts of 125, which stay in the cache; nothing is compiled. Batch normalisation then takes the parts' statistics.
`--bfloat16` has torch.autocast around each forward pass, for processors that multiply matrices of such numbers.

It trains to the end and prints the test accuracy and the wall time. Its clock runs from the images in memory to the end
of the evaluation with mirrored and moved views: whitening, augmentation, training and that evaluation. Reading the
files is not in it, nor the accuracy after each epoch, which is not taken. `--steps` ends a training early, for a try.

With `--rates` it does one training step for each line that it reads, which holds how much of the training is done (a
number in [0, 1)), and answers with the images per second of that step: gathering the batch, forward, backward and
update. The augmentation, made for a whole epoch at once, is not in that.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, PART, EPOCHS, BIAS_EPOCHS = 2000, 125, 8, 3
LR, MOMENTUM = 0.24, 0.6
BIAS_LR, HEAD_LR, OTHER_MOMENTUM, DECAY = 0.053, 0.67, 0.85, 2e-6 * BATCH
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
LAST = torch.channels_last


class Group(nn.Module):
    """Convolution, pool, norm, GELU; convolution, norm, GELU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding="same", bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4) for _ in range(2))
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    """(N, 3, 32, 32) -> logits (N, 10). `train_bias`: whether the first layer's bias takes a gradient."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        self.group1 = Group(24, width)
        self.group2 = Group(width, 4 * width)
        self.group3 = Group(4 * width, 4 * width)
        self.head = nn.Linear(4 * width, 10, bias=False)
        self.head.weight.data /= self.head.weight.std()
        self.train_bias = True

    def set_whitening(self, images: Tensor, eps: float = 5e-4) -> None:
        """The eigenvectors of the images' 2×2 patches, each brought to variance 1, and their negatives."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + eps).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.data.copy_(torch.cat((filters, -filters)))

    def forward(self, x: Tensor) -> Tensor:
        assert self.whiten.bias is not None
        bias = self.whiten.bias if self.train_bias else self.whiten.bias.detach()
        x = F.gelu(F.conv2d(x, self.whiten.weight, bias))
        x = self.group3(self.group2(self.group1(x)))
        x = F.max_pool2d(x, 3).flatten(1)
        logits: Tensor = self.head(x) / x.shape[1]
        return logits


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, made orthogonal in three Newton-Schulz steps; a weight is first brought to norm √rows."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": LR})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(MOMENTUM).add_(weight.grad)
                towards = orthogonal(weight.grad.add(velocity, alpha=MOMENTUM).flatten(1)).view(weight.shape)
                weight.mul_(len(weight) ** 0.5 / weight.norm()).add_(towards, alpha=-group["lr"])


def orthogonal(x: Tensor) -> Tensor:
    x = x / (x.norm() + 1e-7)
    if turned := len(x) > x.shape[1]:
        x = x.T
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x.T if turned else x


class Port:
    """A training of the recipe on uint8 images (N, 3, 32, 32)."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        easy: bool = False,
        bfloat16: bool = False,
        width: int = 64,
        batch: int = BATCH,
    ) -> None:
        self.labels, self.batch, self.part = labels, batch, PART if easy else batch
        self.autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=bfloat16)
        self.steps = EPOCHS * (len(images) // batch)
        self.images = normalised(images)
        self.net = Net(width).to(memory_format=LAST)  # type: ignore[call-overload]
        self.net.set_whitening(self.images[:5000])
        trained = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        biases = {"lr": BIAS_LR, "weight_decay": DECAY / BIAS_LR}
        groups = [
            {"params": [trained["whiten.bias"]], **biases},
            {"params": [p for name, p in trained.items() if "norm" in name], **biases},
            {"params": [self.net.head.weight], "lr": HEAD_LR, "weight_decay": DECAY / HEAD_LR},
        ]
        sgd = torch.optim.SGD(groups, momentum=OTHER_MOMENTUM, nesterov=True)
        self.optimizers = [sgd, Muon(p for p in trained.values() if p.dim() == 4)]
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["initial_lr"] = group["lr"]
        self.images = mirrored(self.images)
        self.padded = F.pad(self.images, (2, 2, 2, 2), "reflect")

    def epoch(self, number: int) -> tuple[Tensor, Tensor]:
        """All images of an epoch, moved by up to two pixels, and all mirrored in every other epoch; and their order."""
        images = moved(self.padded, self.images.shape[-1])
        return images.flip(-1) if number % 2 else images, torch.randperm(len(images))

    def step(self, images: Tensor, labels: Tensor, progress: float) -> None:
        """One update on a batch. progress: how much of the training is done, in [0, 1)."""
        self.net.train()
        bias = 1 - progress * EPOCHS / BIAS_EPOCHS
        self.net.train_bias = bias > 0
        for inputs, targets in zip(images.split(self.part), labels.split(self.part), strict=True):
            with self.autocast():
                loss = F.cross_entropy(self.net(inputs), targets, label_smoothing=0.2, reduction="sum")
            loss.backward()
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, (bias, *[1 - progress] * 3), strict=True):
            group["lr"] = group["initial_lr"] * rate
        for optimizer in self.optimizers:
            optimizer.step()
        self.net.zero_grad(set_to_none=True)

    def train(self, steps: int) -> None:
        """The whole training, or so many steps of it."""
        in_epoch = len(self.images) // self.batch
        begin = time.perf_counter()
        for number in range(math.ceil(steps / in_epoch)):
            images, order = self.epoch(number)
            for step in range(number * in_epoch, min(steps, (number + 1) * in_epoch)):
                rows = order[step % in_epoch * self.batch :][: self.batch]
                self.step(images[rows], self.labels[rows], step / self.steps)
            print(f"epoch {number + 1} of {EPOCHS}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Of test images (uint8), each seen in six views: moved up left, not, and down right; mirrored and not."""
        self.net.eval()
        right = 0
        for part, wanted in zip(normalised(images).split(self.part), labels.split(self.part), strict=True):
            side = part.shape[-1]
            padded = F.pad(part, (1, 1, 1, 1), "reflect")
            views = ((part, 0.5), (padded[..., :side, :side], 0.25), (padded[..., 2:, 2:], 0.25))
            with self.autocast():
                logits = torch.stack([share / 2 * (self.net(view) + self.net(view.flip(-1))) for view, share in views])
            right += int((logits.sum(0).argmax(1) == wanted).sum())
        return right / len(images)


def normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(figures).view(1, 3, 1, 1) for figures in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=LAST)


def mirrored(images: Tensor) -> Tensor:
    """A random half of the images mirrored."""
    chosen = torch.rand(len(images)) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def moved(padded: Tensor, side: int) -> Tensor:
    """A window of each padded image, at a place drawn for it."""
    reach = padded.shape[-1] - side + 1
    places = torch.randint(0, reach**2, (len(padded),))
    made = torch.empty((*padded.shape[:2], side, side)).contiguous(memory_format=LAST)
    for place in range(reach**2):
        rows, (top, left) = places == place, divmod(place, reach)
        made[rows] = padded[rows, :, top : top + side, left : left + side]
    return made


def read(folder: Path, *names: str) -> tuple[Tensor, Tensor]:
    """Images and labels of CIFAR-10's binary files."""
    records = np.concatenate([np.fromfile(folder / f"{name}.bin", np.uint8).reshape(-1, 3073) for name in names])
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)), torch.from_numpy(records[:, 0].astype(np.int64))


def cifar(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """CIFAR-10's training and test images."""
    if not (folder / "test_batch.bin").is_file():
        sys.exit(f"{folder} holds no CIFAR-10 in its binary version: give --data-dir")
    return read(folder, *(f"data_batch_{number}" for number in range(1, 6))), read(folder, "test_batch")


def rates(port: Port) -> None:
    """Answers each line read with the images per second of one step."""
    images, order = port.epoch(0)
    for number, line in enumerate(sys.stdin):
        begin = time.perf_counter()
        rows = order[number % (len(order) // port.batch) * port.batch :][: port.batch]
        port.step(images[rows], port.labels[rows], float(line))
        print(len(rows) / (time.perf_counter() - begin), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every-easy-fix", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=Path("~/.cache/steepest").expanduser())
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    if given.every_easy_fix and sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no tensor is a mapping of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: what is freed is kept
    if given.rates:  # what a step costs does not depend on what is in the images
        images, labels = torch.randint(0, 256, (5 * BATCH, 3, 32, 32)).byte(), torch.arange(5 * BATCH) % 10
        return rates(Port(images, labels, given.every_easy_fix, given.bfloat16))
    training, test = cifar(given.data_dir / "cifar-10-batches-bin")
    begin = time.perf_counter()
    port = Port(*training, given.every_easy_fix, given.bfloat16)
    port.train(min(port.steps, given.steps or port.steps))
    accuracy = port.accuracy(*test)
    seen = {"seed": given.seed, "test_accuracy": accuracy, "wall_s": round(time.perf_counter() - begin, 1)}
    print(json.dumps(seen) if given.json else f"test accuracy {accuracy:.2%}, {seen['wall_s']} s from images to answer")
    return None


if __name__ == "__main__":
    main()
