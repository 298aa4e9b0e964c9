"""Writes some images of a data set as an image folder with the sub-folders train and test, one PNG an image.

    python bench/as_folder.py DATA FOLDER [--train 500] [--test 100] [--data-dir DIR]

The first so many of each class, so that the folder is the same each time: what an image folder is measured on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from steepest.data import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=500, help="images a class")
    parser.add_argument("--test", type=int, default=100, help="images a class")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    dataset = load(given.data, data_dir=given.data_dir)
    if dataset.test is None:
        parser.error(f"{given.data} has no test images")
    for name, split, count in (("train", dataset.train, given.train), ("test", dataset.test, given.test)):
        for label, title in enumerate(dataset.classes):
            place = given.folder / name / title
            place.mkdir(parents=True, exist_ok=True)
            rows = np.flatnonzero(split.targets == label)[:count]
            for number, pixels in enumerate(split.images[rows]):
                Image.fromarray(pixels.squeeze()).save(place / f"{number}.png")


if __name__ == "__main__":
    main()
