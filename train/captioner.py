"""A captioner at work: what it says of images, and how likely it takes what people say of them to be.

Shapes: B images, H height, W width, C channels, R captions of an image, T tokens, S places of the feature map, N images
of a split, L tokens written at most.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.rnn.captioner import CaptionedImages, Captioner
from train.backbone import create_classifier
from train.data.captions import CaptionedSplit, framed
from train.data.images import Order, Preprocessing
from train.data.parallel import Vocabulary, read_vocabulary
from train.shared.mesh import batch_sharding
from train.shared.run import RunError
from train.shared.step import means
from train.trained import read_about
from train.translator import make_write, scores

Look = tuple[np.ndarray, list[str], np.ndarray]
"""An image, the words that were written, and the share [T, h, w] of each place of it for each of these."""


class Batch(NamedTuple):
    """Images uint8 [B, H, W, C] and their captions int32 [B, R, T + 1], as `CaptionedSplit` has them."""

    image: np.ndarray | jax.Array
    tokens: np.ndarray | jax.Array


def forced(batch: Batch, preprocessing: Preprocessing) -> tuple[CaptionedImages, jax.Array]:
    """Returns what the model is given, all but the last token of each caption, and the tokens asked for [B R, T]."""
    tokens = batch.tokens.reshape(-1, batch.tokens.shape[-1])
    return CaptionedImages(preprocessing(batch.image), tokens[:, :-1]), tokens[:, 1:]


class Writer:
    """What a model says of whole splits, the same whatever the batch size and the devices."""

    def __init__(
        self,
        model: Captioner,
        preprocessing: Preprocessing,
        max_length: int,
        mesh: jax.sharding.Mesh,
        batch_size: int = 100,
    ):
        """Compiles nothing yet; `max_length` is L."""
        self._batch_size, self._sharding = -(-batch_size // mesh.size) * mesh.size, batch_sharding(mesh)

        def measure(variables, batch):
            captioned, targets = forced(batch, preprocessing)
            return scores(model.apply(variables, captioned, train=False), targets)

        encode = lambda variables, images: model.apply(variables, preprocessing(images), train=False, method="encode")
        self._measure = jax.jit(measure)
        self._write = make_write(model, encode, max_length)

    def measure(self, variables: Any, split: CaptionedSplit) -> dict[str, float]:
        """Returns the means over the tokens of a split's captions, each after those that are right."""
        totals: dict[str, float] = {}
        for batch, _ in self._batches(split):
            sums = jax.device_get(self._measure(variables, batch))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)

    def write(
        self, variables: Any, split: CaptionedSplit, beams: int = 1, length_penalty: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns captions of a split, int [N, L], and the places of what is said of the same images, [N].

        They are those of beam search, or with one beam the likeliest tokens.
        """
        run = lambda batch: np.asarray(self._write(variables, batch.image, beams, length_penalty))
        found = [(run(batch)[: len(rows)], rows) for batch, rows in self._batches(split)]
        written, rows = zip(*found, strict=True)
        return np.concatenate(written), np.concatenate(rows)

    def _batches(self, split: CaptionedSplit) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yields batches of one size, and the places of their captions; what is beyond them is padding."""
        size = self._batch_size
        order = lambda step: np.arange(step * size, min((step + 1) * size, len(split)))
        for batch, rows in batches(split, order, 0, -(-len(split) // size)):
            fill = lambda array: np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))
            yield jax.device_put(Batch(*map(fill, batch)), self._sharding), rows


def batches(split: CaptionedSplit, order: Order, start: int, stop: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yields the batches of the steps from `start` to before `stop`, and the places [B] of their captions."""
    for batch in split.images.batches(order, start, stop):
        yield Batch(batch["image"], split.tokens[batch["label"]]), batch["label"]


def create_captioner(fields: dict[str, Any]) -> Captioner:
    """Makes a captioner of the fields that `model.json` has."""
    own = {name: value for name, value in fields.items() if name not in ("model", "in_channels", "dtype")}
    return Captioner(create_classifier(fields).backbone, **own, dtype=jnp.dtype(fields["dtype"]))


@dataclasses.dataclass(frozen=True)
class TrainedCaptioner:
    """A captioner with its weights, and what it was trained with.

    Attributes:
        model: the module.
        variables: its best parameters and statistics.
        preprocessing: of its images.
        vocabulary: what its tokens stand for.
        max_length: tokens of the longest caption that it learnt, the end included, and the most that it writes.
    """

    model: Captioner
    variables: Any
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    max_length: int


def read_captioner(run_dir: Path) -> TrainedCaptioner:
    """Reads what a complete run of `train.captioning` has written.

    Raises:
        RunError: the run is not complete, or is of another kind, or a file of it is damaged.
    """
    about = read_about(run_dir)
    try:
        images, words, longest = (about[name] for name in ("preprocessing", "vocabulary", "max_tokens"))
    except KeyError as error:
        raise RunError(f"{run_dir} holds no captioner (its model.json has no {error.args[0]})") from error
    model = create_captioner(about["model"])
    variables = jv.load_weights(model, run_dir / "weights.safetensors")
    return TrainedCaptioner(model, variables, Preprocessing(**images), read_vocabulary(words), longest)


def look(trained: TrainedCaptioner, images: np.ndarray, captions: Sequence[str]) -> list[Look]:
    """Returns where the decoder looked as it wrote captions of images, uint8 [N, H, W, C].

    Nowhere without attention, or where the backbone gives tokens in place of a map.
    """
    seen = trained.preprocessing(images)
    shape = _map_shape(trained.model, seen)
    if trained.model.conditioning != "attention" or shape is None:
        return []
    said = [trained.vocabulary.encode(text) for text in captions]
    captioned = CaptionedImages(seen, framed(said, max(map(len, said)))[:, :-1])
    align = jax.jit(partial(trained.model.apply, train=False, method="align"))
    shares = np.asarray(align(trained.variables, captioned)[1], np.float32)  # [N, T, S]
    words = [[trained.vocabulary.tokens[token].strip() for token in row] for row in said]
    return [
        (image, row, share[: len(row)].reshape(-1, *shape))
        for image, row, share in zip(images, words, shares, strict=True)
    ]


def _map_shape(model: Captioner, images: jax.Array) -> tuple[int, int] | None:
    """Returns height and width of the feature map of images; None for the tokens of a Transformer."""
    see = nn.apply(lambda model, images: model.backbone.features(images, train=False)[-1], model)
    found = jax.eval_shape(see, abstract_variables(model), images)
    return found.shape[1:3] if found.ndim == 4 else None
