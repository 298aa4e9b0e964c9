"""fastai: its Learner's loop, and xresnet18 with fit_one_cycle (see side.py).

As its examples have it: batches of 64, Adam, a peak learning rate of 3e-3, random resized crops of at least 0.35 of the
image and flips, on whole batches, which is the faster way.
"""

# mypy: ignore-errors

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  a method of Learner's from here on
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.learner import Learner
from fastai.optimizer import SGD
from fastai.torch_core import TensorCategory, TensorImage
from fastai.vision.augment import Flip, RandomResizedCropGPU
from fastai.vision.models.xresnet import xresnet18
from torch.nn import CrossEntropyLoss
from torch.utils.data import DataLoader

from peers import side


class Clock(Callback):
    def before_train(self):
        self.begin = time.perf_counter()

    def after_train(self):
        self.took_s = time.perf_counter() - self.begin


def epoch(model, batches):
    loader = DataLoader(batches, batch_size=None)
    clock = Clock()
    learner = Learner(
        DataLoaders(loader, DataLoader(batches[:1], batch_size=None)),
        model,
        loss_func=CrossEntropyLoss(),
        opt_func=partial(SGD, mom=0.0),
        lr=side.LR,
        cbs=clock,
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)
    return clock.took_s


def train(task, epochs):
    some = task.images[:5000] / 255
    size = task.images.shape[1]
    normalize = Normalize.from_stats(some.mean((0, 1, 2)).tolist(), (some.std((0, 1, 2)) + 1e-6).tolist(), cuda=False)
    tensors = [TensorImage(image) for image in torch.from_numpy(task.images).permute(0, 3, 1, 2)]
    items = list(zip(tensors, [TensorCategory(int(target)) for target in task.targets], strict=True))
    crops = [RandomResizedCropGPU(size, min_scale=0.35), *([Flip()] if task.flip else [])]
    training = TfmdDL(
        items, bs=64, shuffle=True, drop_last=True, num_workers=0, after_batch=[IntToFloatTensor(), *crops, normalize]
    )
    one = TfmdDL(items[:2], bs=2, num_workers=0, after_batch=[IntToFloatTensor(), normalize])
    model = xresnet18(c_in=task.images.shape[3], n_out=task.classes)
    learner = Learner(DataLoaders(training, one), model, loss_func=CrossEntropyLoss())
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, 3e-3)
    return learner.model.eval(), side.normalised(task)


@torch.no_grad()
def predict(trained, images):
    model, ready = trained
    return np.concatenate([model(ready(images[low : low + 500])).argmax(1) for low in range(0, len(images), 500)])


if __name__ == "__main__":
    side.main("fastai", epoch, train, predict)
