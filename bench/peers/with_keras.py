"""Keras on PyTorch: its fit loop, and its example convolutional networks (see side.py).

One channel: keras.io's simple_mnist_convnet, with Adam and batches of 128. Colour: the network of Keras' cifar10_cnn,
with the random flips and shifts by a tenth of that example, and Adam and batches of 128 too, which learn sooner than
its RMSprop of 1e-4. Where the images are smaller than 28×28 the convolutions keep the map's size.
"""

# mypy: ignore-errors

from __future__ import annotations

import time

import keras
from keras import layers
from torch.utils.data import DataLoader

from peers import side


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.took_s = time.perf_counter() - self.begin


class Lab(keras.Model):
    """The same PyTorch network, trained by Keras."""

    def __init__(self, model):
        super().__init__()
        self.net = keras.layers.TorchModuleWrapper(model)

    def call(self, x):
        return self.net(x)


MADE = {}


def epoch(model, batches):
    if model not in MADE:
        MADE[model] = Lab(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        MADE[model].compile(optimizer=keras.optimizers.SGD(side.LR), loss=loss)
    clock = Clock()
    MADE[model].fit(DataLoader(batches, batch_size=None), epochs=1, verbose=0, callbacks=[clock])
    return clock.took_s


def network(task):
    size, _, channels = task.images.shape[1:]
    found = [keras.Input(task.images.shape[1:]), layers.Rescaling(1 / 255)]
    if channels == 1:
        for filters in (32, 64):
            padding = "same" if size < 28 else "valid"
            found += [layers.Conv2D(filters, 3, activation="relu", padding=padding), layers.MaxPooling2D(2)]
        found += [layers.Flatten()]
    else:
        found += [layers.RandomFlip("horizontal")] if task.flip else []
        found += [layers.RandomTranslation(0.1, 0.1)]
        for filters in (32, 64):
            found += [layers.Conv2D(filters, 3, activation="relu", padding="same")]
            found += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.25)]
        found += [layers.Flatten(), layers.Dense(512, activation="relu")]
    return keras.Sequential([*found, layers.Dropout(0.5), layers.Dense(task.classes, activation="softmax")])


def train(task, epochs):
    model = network(task)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(task.images, task.targets, batch_size=side.BATCH, epochs=epochs, verbose=0)
    return model


def predict(model, images):
    return model.predict(images, batch_size=500, verbose=0).argmax(1)


if __name__ == "__main__":
    side.main("Keras on PyTorch", epoch, train, predict)
