"""A captioner and a classifier of videos beside the same in plain PyTorch, in the same run.

    python -m benchmarks.images_and_sequences --against torch --output images_and_sequences.json

Each is torchvision's ResNet-18 and an LSTM: `captioner` looks at the places of the last feature map for each token
(Show, Attend and Tell), `video` sees every frame (LRCN); for the peers see `benchmarks/torch_sequences.py`. "infer"
gives the logits, "train" is a forward and a backward pass of everything and a step of SGD with momentum, and "write"
writes captions token by token, the likeliest. All are warmed up, then timed round after round; the medians are
compared. The ratio is that of our speed to that of the faster of PyTorch eager and compiled, channels last (writing is
not compiled). Shapes: B images or videos, T tokens or frames, H height, W width.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks.timing import Run
from benchmarks.work import Contest, compiled, of_torch, training
from jaxvision.ops.decoding import greedy
from jaxvision.rnn.captioner import CaptionedImages, Captioner
from jaxvision.rnn.video import Video, VideoClassifier

WORK = {"captioner": ("infer", "train", "write"), "video": ("infer", "train")}
BACKBONE = "resnet18"
START, NO_END = 1, -1  # a token that is never written, so that all are as long


@dataclasses.dataclass(frozen=True)
class Size:
    """What is measured: of the model, and of its input."""

    vocabulary: int
    width: int
    depth: int
    batch: int
    length: int
    image: int

    @property
    def tokens(self) -> np.ndarray:  # -> int32 [B, T]
        """Random tokens, of which the first of each row is a class as well."""
        return np.random.RandomState(0).randint(2, self.vocabulary, (self.batch, self.length), np.int32)

    def images(self, name: str) -> np.ndarray:  # -> float32 [B, H, W, 3], or [B, T, H, W, 3]
        """Random images, or videos."""
        frames = (self.length,) if name == "video" else ()
        shape = (self.batch, *frames, self.image, self.image, 3)
        return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


def our_model(name: str, size: Size) -> nn.Module:
    """Returns our model."""
    backbone = jv.create_model(BACKBONE, num_classes=0).backbone
    layers = {"hidden": size.width, "num_layers": size.depth}
    if name == "video":
        return VideoClassifier(backbone, size.vocabulary, **layers)
    return Captioner(backbone, size.vocabulary, embedding=size.width, **layers)


def given(name: str, size: Size) -> CaptionedImages | Video:
    """Returns what our model is given."""
    images = jnp.asarray(size.images(name))
    if name == "video":
        return Video(images, jnp.full(size.batch, size.length))
    return CaptionedImages(images, jnp.asarray(size.tokens))


def labels(name: str, size: Size) -> np.ndarray:
    """Returns what is to be told: of captions every token, of videos one."""
    return size.tokens[:, 0] if name == "video" else size.tokens


def ours(name: str, work: str, size: Size) -> Run:
    """Returns our work, compiled."""
    model, sees = our_model(name, size), given(name, size)
    variables = jv.init(model, jax.random.key(0))
    if work == "infer":
        return compiled(partial(model.apply, train=False), variables, sees)
    if work == "write":
        return compiled(partial(write, model, size.length - 1), variables, sees.image)
    learn = partial(model.apply, train=True, mutable=["batch_stats"])
    return training(learn, variables, sees, jnp.asarray(labels(name, size)))


def write(model: Captioner, count: int, variables: Any, images: jax.Array) -> jax.Array:  # -> [B, count]
    """Returns the likeliest tokens after the first."""
    memory, state = model.apply(variables, images, train=False, method="encode")
    step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
    return greedy(step, state, jnp.full(len(images), START), max_length=count, end=NO_END)


def their_model(name: str, size: Size):
    """Returns the peer."""
    from benchmarks import torch_sequences

    peer = {"captioner": torch_sequences.Captioner, "video": torch_sequences.VideoClassifier}[name]
    return peer(BACKBONE, size.vocabulary, size.width, size.depth)


def theirs(name: str, work: str, size: Size, compiles: bool) -> Run:
    """Returns the work of the peer."""
    import torch

    model = their_model(name, size).to(memory_format=torch.channels_last)
    images = torch.from_numpy(size.images(name)).movedim(-1, -3)  # where they are: channels last
    if work != "write":
        sees = {"frames": images} if name == "video" else {"images": images, "input_ids": torch.from_numpy(size.tokens)}
        return of_torch(model, work, sees, torch.from_numpy(labels(name, size)).long(), compiles)

    def write() -> None:
        with torch.inference_mode():
            model.eval().generate(images, max_new_tokens=size.length - 1)

    return write


def peers(name: str, work: str, size: Size) -> dict[str, Run]:
    """Returns PyTorch's runs."""
    kinds = ("eager",) if work == "write" else ("eager", "compiled")
    return {f"torch {kind}": theirs(name, work, size, kind == "compiled") for kind in kinds}


CONTEST = Contest(WORK, ours, peers, "examples", lambda size: size.batch)


def main() -> None:
    """Measures what the command line names."""
    default = Size(vocabulary=1000, width=256, depth=1, batch=4, length=16, image=128)
    CONTEST.main(__doc__.partition("\n")[0], "python -m benchmarks.images_and_sequences", default)


if __name__ == "__main__":
    main()
