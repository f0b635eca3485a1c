"""Trained models, as the directories of their runs hold them.

Shapes: N images, H height, W width, C channels, K classes.
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from jaxvision.rnn.seq2seq import Seq2Seq
from jaxvision.transformer.gpt import GPT
from jaxvision.transformer.transformer import Transformer
from train.data.images import ImageSet, Preprocessing
from train.data.parallel import Vocabulary, read_vocabulary
from train.shared.run import RunError, read_json


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A model with its weights, and what it was trained with.

    Attributes:
        name: of the model.
        model: as `create_model` gives it.
        variables: its best parameters and statistics.
        preprocessing: from pixels 0..255 to its input.
        classes: names of the K classes.
        channels: C, of the images.
        size: height and width that images are resized and cut to before the preprocessing.
    """

    name: str
    model: nn.Module
    variables: Any
    preprocessing: Preprocessing
    classes: list[str]
    channels: int
    size: int

    def logits(self, images: jax.Array) -> jax.Array:  # [N, H, W, C] -> [N, K]
        """Returns the logits of whole images scaled to 0..1, of any size that the model takes."""
        return self.model.apply(self.variables, self.preprocessing.normalize(images), train=False)


def read_trained(run_dir: Path) -> TrainedClassifier:
    """Reads what a complete run has written.

    Raises:
        RunError: the run is not complete, or is of another kind, or a file of it is damaged.
    """
    about = read_about(run_dir)
    try:
        classes, channels, size = about["classes"], about["in_channels"], about["resize"]
        preprocessing = Preprocessing(tuple(about["mean"]), tuple(about["std"]), about["image_size"])
        name, dtype = about["model"], jnp.dtype(about["precision"])
    except KeyError as error:
        raise RunError(f"{run_dir} holds no classifier of images (its model.json has no {error.args[0]})") from error
    model = jv.create_model(name, num_classes=len(classes), in_channels=channels, dtype=dtype)
    variables = jv.load_weights(model, run_dir / "weights.safetensors")
    return TrainedClassifier(name, model, variables, preprocessing, classes, channels, size)


def read_teacher(run_dir: Path | None, data: ImageSet, image_size: int) -> TrainedClassifier | None:
    """Reads what a run has written that another is to learn from, if there is one, and checks that it knows the data.

    Raises:
        RunError: its run is not complete, or a file of it is damaged.
        ValueError: it was trained on other classes or channels, or images of another size.
    """
    if run_dir is None:
        return None
    teacher = read_trained(run_dir)
    for name, there, here in [
        ("classes", tuple(teacher.classes), tuple(data.classes)),
        ("channels", teacher.channels, data.shape[-1]),
        ("image size", teacher.preprocessing.image_size, image_size),
    ]:
        if there != here:
            raise ValueError(f"--teacher {run_dir} was trained with other {name}: {there}, the data has {here}")
    return teacher


@dataclasses.dataclass(frozen=True)
class TrainedLanguageModel:
    """A language model with its weights, and the characters that its tokens stand for.

    Attributes:
        model: the module.
        variables: its best parameters.
        vocabulary: a token is a place in it.
    """

    model: LanguageModel | GPT
    variables: Any
    vocabulary: str


def read_language_model(run_dir: Path) -> TrainedLanguageModel:
    """Reads what a complete run of `train.language_model` has written.

    Raises:
        RunError: the run is not complete, or is of another kind, or a file of it is damaged.
    """
    about = read_about(run_dir)
    if not isinstance(about.get("vocabulary"), str):
        raise RunError(f"{run_dir} holds no language model (its model.json has no vocabulary)")
    model = create_language_model(about["model"])
    return TrainedLanguageModel(model, jv.load_weights(model, run_dir / "weights.safetensors"), about["vocabulary"])


def create_language_model(fields: dict[str, Any]) -> LanguageModel | GPT:
    """Makes a language model of its fields as `model.json` has them: one of recurrent layers has a cell."""
    make = LanguageModel if "cell" in fields else GPT
    return make(**{**fields, "dtype": jnp.dtype(fields["dtype"])})


@dataclasses.dataclass(frozen=True)
class TrainedTranslator:
    """A translator with its weights, and what its tokens stand for.

    Attributes:
        model: the module.
        params: its best parameters.
        source, target: the vocabularies.
        max_source: most tokens of a sentence that it takes.
        max_target: tokens of the longest translation that it learnt, the end included, and the most that it writes.
    """

    model: Seq2Seq | Transformer
    params: Any
    source: Vocabulary
    target: Vocabulary
    max_source: int
    max_target: int


def read_translator(run_dir: Path) -> TrainedTranslator:
    """Reads what a complete run of `train.translation` has written.

    Raises:
        RunError: the run is not complete, or is of another kind, or a file of it is damaged.
    """
    about = read_about(run_dir)
    try:
        source, target = (read_vocabulary(about[side]) for side in ("source", "target"))
        limits = about["max_source"], about["max_target"]
    except KeyError as error:
        raise RunError(f"{run_dir} holds no translator (its model.json has no {error.args[0]})") from error
    model = create_translator(about["model"])
    params = jv.load_weights(model, run_dir / "weights.safetensors")["params"]
    return TrainedTranslator(model, params, source, target, *limits)


def create_translator(fields: dict[str, Any]) -> Seq2Seq | Transformer:
    """Makes a translator of its fields as `model.json` has them: one of recurrent layers has a cell."""
    make = Seq2Seq if "cell" in fields else Transformer
    return make(**{**fields, "dtype": jnp.dtype(fields["dtype"])})


def read_about(run_dir: Path) -> dict[str, Any]:
    """Reads the `model.json` of a complete run.

    Raises:
        RunError: the run is not complete, or the file is damaged.
    """
    if not (run_dir / "result.json").exists():
        raise RunError(f"{run_dir} holds no complete run (no result.json): train to the end first")
    return read_json(run_dir / "model.json")
