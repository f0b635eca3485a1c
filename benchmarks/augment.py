"""Images per second of each augmentation, beside torchvision's transforms in the same run.

    python -m benchmarks.augment --batch-size 64 --image-size 224 --output augment.json

Both draw other parameters for each image of a batch: ours, of floating point, in one compiled call, torchvision's
image by image, as a loader of data calls it, of bytes wherever it can. `torchvision batch` is the whole batch in one
call, which changes all of its images alike. All are warmed up, then timed round after round; the medians are
compared. Shapes: B batch, H height, W width.
"""

import argparse
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from benchmarks.timing import Run, medians, save
from jaxvision import augment

NUM_CLASSES = 10


def our_augmentations(size: int) -> dict[str, Callable]:
    """Functions of a key and images, and of labels where they are mixed too."""
    return {
        "random_crop": functools.partial(augment.random_crop, size=size, padding=size // 8),
        "random_resized_crop": functools.partial(augment.random_resized_crop, size=size),
        "random_resized_crop bicubic": functools.partial(augment.random_resized_crop, size=size, method="bicubic"),
        "random_horizontal_flip": augment.random_horizontal_flip,
        "random_affine": functools.partial(augment.random_affine, degrees=15, translate=0.1, scale=(0.85, 1.15)),
        "color_jitter": functools.partial(augment.color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        "random_grayscale": functools.partial(augment.random_grayscale, probability=0.2),
        "random_gaussian_blur": functools.partial(augment.random_gaussian_blur, kernel_size=kernel_size(size)),
        "random_solarize": augment.random_solarize,
        "random_erasing": augment.random_erasing,
        "mixup": augment.mixup,
        "cutmix": augment.cutmix,
        "rand_augment": augment.rand_augment,
        "trivial_augment": augment.trivial_augment,
    }


def kernel_size(size: int) -> int:
    """Of SimCLR's blur: a tenth of the height, odd."""
    return size // 10 // 2 * 2 + 1


def their_augmentations(size: int) -> dict[str, Callable]:
    """The same transforms of torchvision."""
    affine = v2.RandomAffine(15, (0.1, 0.1), (0.85, 1.15), interpolation=InterpolationMode.BILINEAR)
    return {
        "random_crop": v2.RandomCrop(size, padding=size // 8),
        "random_resized_crop": v2.RandomResizedCrop(size),
        "random_resized_crop bicubic": v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC),
        "random_horizontal_flip": v2.RandomHorizontalFlip(),
        "random_affine": affine,
        "color_jitter": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "random_grayscale": v2.RandomGrayscale(0.2),
        "random_gaussian_blur": v2.GaussianBlur(kernel_size(size), (0.1, 2.0)),
        "random_solarize": v2.RandomSolarize(128),
        "random_erasing": v2.RandomErasing(),
        "mixup": v2.MixUp(num_classes=NUM_CLASSES),
        "cutmix": v2.CutMix(num_classes=NUM_CLASSES),
        "rand_augment": v2.RandAugment(),
        "trivial_augment": v2.TrivialAugmentWide(),
    }


MIXING = ("mixup", "cutmix")  # torchvision draws one share for a batch
FLOATING = ("mixup",)  # of what torchvision cannot do with bytes


def contenders(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Run]:  # uint8 [B, H, W, 3], [B]
    """Returns an augmentation of a batch by both libraries, each waiting for its result."""
    size = images.shape[1]
    apply = jax.jit(our_augmentations(size)[name])
    ours = [jnp.asarray(images, jnp.float32) / 255]
    if name in MIXING:
        ours.append(jax.nn.one_hot(labels, NUM_CLASSES))
    keys = iter(jax.random.split(jax.random.key(0), 10_000))
    transform = their_augmentations(size)[name]
    theirs = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    theirs, targets = theirs.float() / 255 if name in FLOATING else theirs, torch.from_numpy(labels)

    def run():
        jax.block_until_ready(apply(next(keys), *ours))

    def run_each():
        torch.stack([transform(image) for image in theirs])

    def run_batch():
        transform(theirs, targets) if name in MIXING else transform(theirs)

    runs = {"jaxvision": run, "torchvision batch": run_batch}
    return runs if name in MIXING else runs | {"torchvision": run_each}


def rows(options: argparse.Namespace, size: int) -> list[dict[str, Any]]:
    """Measures all augmentations of one size of image."""
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (options.batch_size, size, size, 3)).astype(np.uint8)
    labels = random.randint(0, NUM_CLASSES, options.batch_size)
    result = []
    for name in our_augmentations(size):
        runs = contenders(name, images, labels)
        speeds = {
            contender: options.batch_size / median for contender, median in medians(runs, options.seconds).items()
        }
        row = {"augmentation": name, "batch": options.batch_size, "size": size}
        row |= {"images_per_second": {contender: float(f"{speed:.4g}") for contender, speed in speeds.items()}}
        peer = "torchvision batch" if name in MIXING else "torchvision"
        row["ratio"] = float(f"{speeds['jaxvision'] / speeds[peer]:.2g}")
        result.append(row)
        print(json.dumps(row), flush=True)
    return result


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="python -m benchmarks.augment")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, nargs="+", default=[224, 32])
    parser.add_argument("--seconds", type=float, default=5, help="of timing, for each contender")
    parser.add_argument("--output", type=Path, help="JSON file; rows measured before on the same machine are kept")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    for size in options.image_size:
        measured = rows(options, size)
        if options.output:
            save(options.output, measured, ("augmentation", "batch", "size"))


if __name__ == "__main__":
    main()
