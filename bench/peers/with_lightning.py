"""Lightning: its Trainer's loop over the lab network; nothing that prints, logs or keeps files (see side.py)."""

# mypy: ignore-errors

from __future__ import annotations

import logging
import time
import warnings

import pytorch_lightning
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from peers import side

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Lab(pytorch_lightning.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.begin = self.took_s = 0.0

    def training_step(self, batch, number):
        images, targets = batch
        return F.cross_entropy(self.model(images), targets)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=side.LR)

    def on_train_epoch_start(self):
        self.begin = time.perf_counter()

    def on_train_epoch_end(self):
        self.took_s = time.perf_counter() - self.begin


def epoch(model, batches):
    module = Lab(model)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pytorch_lightning.Trainer(max_epochs=1, accelerator="cpu", devices=1, **quiet)
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module.took_s


if __name__ == "__main__":
    side.main("Lightning", epoch, None, None)
