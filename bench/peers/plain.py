"""Plain PyTorch: ResNet-18 for small images and one cycle of the learning rate (see side.py).

SGD with Nesterov's momentum 0.9, weight decay 5e-4, OneCycleLR to 0.1, batches of 128, channels_last; each batch padded
by an eighth of its side and cropped at one place, and half of its images mirrored where a mirror image is as good.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from peers import side
from steepest.models import resnet18


def train(task: side.Task, epochs: int) -> Any:
    ready = side.normalised(task)
    height, width, channels = task.images.shape[1:]
    model = resnet18.build(task.classes, (channels, height, width), resnet18.WIDTH)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = max(1, len(task.images) // side.BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * steps + 1)
    targets = torch.from_numpy(task.targets)
    pad = height // 8
    for _ in range(epochs):
        order = torch.randperm(len(task.images))
        for step in range(steps):
            rows = order[step * side.BATCH :][: side.BATCH]
            images = F.pad(ready(task.images[rows.numpy()]), [pad] * 4)
            top, left = (int(place) for place in torch.randint(0, 2 * pad + 1, (2,)))
            images = images[..., top : top + height, left : left + width]
            if task.flip:
                images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)
            loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    return model.eval(), ready


@torch.no_grad()
def predict(trained: Any, images: side.Array) -> side.Array:
    model, ready = trained
    parts = [ready(images[low : low + 500]) for low in range(0, len(images), 500)]
    found: side.Array = torch.cat([model(part).argmax(1) for part in parts]).numpy()
    return found


if __name__ == "__main__":
    side.main("plain PyTorch", None, train, predict)
