"""Draws what filters and networks see in a photograph: `python -m train.gallery --output gallery`.

Edges, a filter learnt beside the one it should be, a bank of Gabor filters and receptive fields need no trained
network. With a run of `train.classification` (`--run`) come its feature maps, where it finds the classes in the whole
photograph, and what explains its answer: Grad-CAM, occlusion and, of a Transformer, attention. Shapes: H height,
W width, C channels, K classes.
"""

import dataclasses
import math
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from PIL import Image

import jaxvision as jv
from jaxvision.explain import attention_maps, attention_rollout, grad_cam, occlusion
from jaxvision.initialize import abstract_variables
from jaxvision.ops import filters
from jaxvision.ops.receptive_field import Span, receptive_field
from train.data.images import center_crop, resize
from train.data.photograph import Sample, grey, read_photo
from train.edge_detector import FILTERS, check_photo, learn_filter
from train.shared import photo_figures
from train.shared.photo_figures import Box, Overlay
from train.shared.report import write_report
from train.shared.run import RunError, exit_on, to_json, write_json
from train.trained import TrainedClassifier, read_trained

MARKER = "gallery.json"
WITHOUT_A_RUN = "vgg16"  # whose receptive fields are drawn then
ENLARGED = 4  # times what the network's head sees: the shorter side of the photograph that it slides over
MOST_CLASSES = 3
FIELDS = "Receptive fields of {name}, stage by stage: of the value in the middle, and of its neighbour (dashed)"


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw what filters and networks see in a photograph."""

    output: Path
    """Directory to write to."""
    run: Path | None = None
    """Directory of a complete run of `train.classification`, on photographs."""
    photo: Path | None = None
    """Image file; by default a photograph that scikit-learn brings."""
    sample: Sample = "china"
    """Which of those."""
    overwrite: bool = False
    """Draw a gallery anew that is there; its figures are deleted."""


def drawings(photo: np.ndarray, classifier: TrainedClassifier | None) -> dict[str, Figure]:  # uint8 [H, W, 3]
    """Draws everything, by caption."""
    drawn = {
        "Edges": edges(photo),
        "A filter that was learnt, beside Sobel's": learnt_filter(photo),
        "Gabor filters": gabor_bank(photo),
    }
    if classifier is None:
        model = jv.create_model(WITHOUT_A_RUN)
        drawn[FIELDS.format(name=WITHOUT_A_RUN)] = fields(resize(photo, model.example_input().shape[1]), model)
        return drawn
    image = network_image(photo, classifier)
    shown = cropped(photo, classifier)
    if not is_transformer(classifier.model):  # whose tokens see all of the image from the first block on
        drawn[FIELDS.format(name="the network")] = fields(resize(shown, image.shape[1]), classifier.model)
    drawn["Feature maps, stage by stage"] = feature_maps(shown, image, classifier)
    if heat := heat_maps(photo, classifier):
        drawn["Where the classes are: the classifier slid over the photograph"] = heat
    return drawn | explanations(shown, image, classifier) | attention(shown, image, classifier)


def is_transformer(model: nn.Module) -> bool:
    """Tells whether a classifier's stages are tokens of patches."""
    return hasattr(model.backbone, "last_block")


def edges(photo: np.ndarray) -> Figure:  # uint8 [H, W, 3]
    """Draws what the classic filters answer."""
    image = grey(photo)
    answer = lambda kernel: np.asarray(filters.correlate(image, kernel, padding="same"))[1:-1, 1:-1]
    answers = {name: answer(kernel) for name, kernel in FILTERS.items()}
    answers["length of Sobel's gradient"] = np.hypot(answer(filters.sobel(0)), answer(filters.sobel(1)))
    blurred = filters.correlate(image - image.mean(), filters.gaussian(13, 2), padding="same")
    answers["gaussian, without the mean"] = np.asarray(blurred)
    return photo_figures.pictures(photo, answers)


def learnt_filter(photo: np.ndarray) -> Figure:  # uint8 [H, W, 3]
    """Learns Sobel's filter from the photograph and draws both."""
    image, known = grey(photo), FILTERS["sobel"]
    target = np.asarray(filters.correlate(image, known))
    learnt, errors = learn_filter(image, target)
    return photo_figures.learnt_filter(known, learnt, errors, (target, np.asarray(filters.correlate(image, learnt))))


def gabor_bank(photo: np.ndarray) -> Figure:  # uint8 [H, W, 3]
    """Draws Gabor filters of two wavelengths in four directions."""
    image = grey(photo) - grey(photo).mean()
    kernels = {
        f"{wavelength} pixels, {degrees}°": filters.gabor(
            6 * wavelength // 2 + 1, wavelength=wavelength, orientation=math.radians(degrees), sigma=wavelength / 2
        )
        for wavelength in (6, 12)
        for degrees in (0, 45, 90, 135)
    }
    answers = [np.asarray(filters.correlate(image, kernel, padding="same")) for kernel in kernels.values()]
    return photo_figures.bank(kernels, answers)


def fields(image: np.ndarray, model: nn.Module) -> Figure:  # uint8 [H, W, 3]
    """Draws what the middle value of each stage sees of an image, and what the value to its right sees."""
    variables, example = abstract_variables(model), model.example_input()
    example = jax.ShapeDtypeStruct((1, *image.shape[:2], example.shape[-1]), example.dtype)
    run = lambda x, variables: model.apply(variables, x, train=False, method="features")
    boxes = {}
    for number, stage in enumerate(jax.eval_shape(run, example, variables)):
        reach = receptive_field(lambda x, variables, number=number: run(x, variables)[number], example, variables)
        row, column = (length // 2 for length in stage.shape[1:3])
        seen = "x".join("all" if math.isinf(span.size) else str(span.size) for span in reach)
        pair = tuple(box(reach, place, image.shape[:2]) for place in ((row, column), (row, column + 1)))
        boxes[f"stage {number + 1}: sees {seen}"] = pair
    return photo_figures.receptive_fields(image, boxes)


def box(reach: tuple[Span, Span], place: tuple[int, int], sizes: tuple[int, int]) -> Box:
    """Returns the pixels that a value of a map depends on, in an image of height and width `sizes`."""
    rows, columns = (
        (0.0, size - 1.0)
        if span.axis is None
        else (float(span.first + i * span.jump), float(span.last + i * span.jump))
        for span, i, size in zip(reach, place, sizes, strict=True)
    )
    return Box(rows[0], columns[0], rows[1], columns[1])


def feature_maps(
    shown: np.ndarray, image: jax.Array, classifier: TrainedClassifier
) -> Figure:  # [H, W, 3], [1, S, S, C]
    """Draws what each stage makes of the photograph."""
    run = jax.jit(lambda variables, x: classifier.model.apply(variables, x, train=False, method="features"))
    stages = run(classifier.variables, image)
    if is_transformer(classifier.model):
        stages = [classifier.model.backbone.as_map(tokens, image.shape[1:3]) for tokens in stages]
    maps = [np.asarray(stage[0], np.float32) for stage in stages]
    return photo_figures.stages(shown, maps)


def heat_maps(photo: np.ndarray, classifier: TrainedClassifier) -> Figure | None:  # uint8 [H, W, 3]
    """Draws the probabilities of the likeliest classes at each place; None where there can be none."""
    try:
        sliding, size = slid(classifier)
    except (ValueError, TypeError) as error:
        print(f"no heat map of the classes: {error}")
        return None
    scale = ENLARGED * size / min(photo.shape[:2])
    height, width = (max(round(length * scale), size) for length in photo.shape[:2])
    enlarged = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    image = classifier.preprocessing.normalize(jnp.asarray(in_channels(enlarged, classifier), jnp.float32) / 255)
    try:
        logits = jax.jit(lambda variables, x: sliding.apply(variables, x, train=False))(classifier.variables, image)
    except (ValueError, TypeError) as error:
        print(f"no heat map of the classes: {error}")
        return None
    heat = np.asarray(jax.nn.softmax(logits[0].astype(jnp.float32)))  # [h, w, K]
    likeliest = np.argsort(-heat.max((0, 1)), kind="stable")[:MOST_CLASSES]
    extent = (*margins(heat.shape[1], size / width), *reversed(margins(heat.shape[0], size / height)))
    return photo_figures.overlays(
        photo,
        {f"{classifier.classes[k]}, up to {heat[..., k].max():.0%}": Overlay(heat[..., k], extent) for k in likeliest},
    )


def slid(classifier: TrainedClassifier) -> tuple[nn.Module, int]:
    """Returns the classifier slid over larger images, and the height and width in pixels of what its head sees.

    It sees what it saw in training; fully connected layers see what they were made for.

    Raises:
        TypeError: there is no feature map that the head could slide over.
    """
    model, size = classifier.model, classifier.preprocessing.image_size
    if hasattr(model.backbone, "slide"):
        return jv.convolutionalize(model), model.example_input().shape[1]
    image = jax.ShapeDtypeStruct((1, size, size, classifier.channels), jnp.float32)
    run = lambda variables, x: model.apply(variables, x, train=False, method="features")[-1]
    return jv.convolutionalize(model, jax.eval_shape(run, classifier.variables, image).shape[1:3]), size


def margins(count: int, window: float) -> tuple[float, float]:
    """Returns the edges of a map of `count` windows that slide from one end of the photograph to the other.

    Pixels at the end that are too few for one more step are spread over all: a place is less than half a step off.

    Args:
        count: places along an axis.
        window: length of each of them, as a share of the photograph.
    """
    half_a_step = (1 - window) / max(count - 1, 1) / 2
    return window / 2 - half_a_step, 1 - window / 2 + half_a_step


def explanations(shown: np.ndarray, image: jax.Array, classifier: TrainedClassifier) -> dict[str, Figure]:
    """Draws Grad-CAM and occlusion for the likeliest classes of the network's own view: [H, W, 3], [1, S, S, C].

    Grad-CAM is left out where the last feature map has one pixel.
    """
    model, variables, size = classifier.model, classifier.variables, image.shape[1]
    logits = jax.jit(lambda variables, x: model.apply(variables, x, train=False))(variables, image)
    probabilities = np.asarray(jax.nn.softmax(logits[0].astype(jnp.float32)))
    likeliest = np.argsort(-probabilities, kind="stable")[:MOST_CLASSES]
    square, stride = max(size // 4, 1), max(size // 16, 1)
    cam = jax.jit(grad_cam, static_argnums=0)
    cover = jax.jit(occlusion, static_argnums=0, static_argnames=("size", "stride"))
    activations, losses = {}, {}
    for label in likeliest:
        title, classes = f"{classifier.classes[label]}, {probabilities[label]:.0%}", jnp.array([label])
        activations[title] = Overlay(np.asarray(cam(model, variables, image, classes)[0], np.float32))
        lost = np.asarray(cover(model, variables, image, classes, size=square, stride=stride)[0], np.float32)
        first, last = (square - stride) / 2 / size, ((square - stride) / 2 + stride * len(lost)) / size
        losses[title] = Overlay(lost, (first, last, last, first))
    hidden = f"Occlusion: probability lost where {square}x{square} of {size}x{size} pixels are covered"
    drawn = {hidden: photo_figures.overlays(shown, losses, signed=True)}
    if next(iter(activations.values())).values.size == 1:
        print("no Grad-CAM: the last feature map of the network has one pixel, which says nothing of where")
        return drawn
    return {"Grad-CAM: what speaks for the likeliest classes": photo_figures.overlays(shown, activations)} | drawn


def attention(shown: np.ndarray, image: jax.Array, classifier: TrainedClassifier) -> dict[str, Figure]:
    """Draws where a Transformer looks in its own view, [H, W, 3] and [1, S, S, C]; of other networks nothing."""
    model, variables = classifier.model, classifier.variables
    if not is_transformer(model):
        return {}
    *_, heads = jax.jit(attention_maps, static_argnums=0)(model, variables, image)  # [1, h, w, heads]
    rollout = jax.jit(attention_rollout, static_argnums=0)(model, variables, image)
    maps = {f"head {n}": Overlay(np.asarray(heads[0, ..., n - 1], np.float32)) for n in range(1, heads.shape[-1] + 1)}
    return {
        "Attention, followed through all blocks": photo_figures.overlays(
            shown, {"rollout": Overlay(np.asarray(rollout[0], np.float32))}
        ),
        "Where each head of the last block looks": photo_figures.overlays(shown, maps, columns=4),
    }


def network_image(photo: np.ndarray, classifier: TrainedClassifier) -> jax.Array:  # uint8 [H, W, 3] -> [1, S, S, C]
    """Returns the photograph as the network is given it."""
    return classifier.preprocessing(jnp.asarray(in_channels(resize(photo, classifier.size), classifier)))


def in_channels(photo: np.ndarray, classifier: TrainedClassifier) -> np.ndarray:  # uint8 [H, W, 3] -> [1, H, W, C]
    """Makes a photograph grey if the network takes that."""
    image = Image.fromarray(photo).convert("L" if classifier.channels == 1 else "RGB")
    return np.asarray(image).reshape(1, *photo.shape[:2], classifier.channels)


def cropped(photo: np.ndarray, classifier: TrainedClassifier) -> np.ndarray:  # uint8 [H, W, 3] -> [S, S, 3]
    """Cuts out the square of the photograph that the network is given, at its own resolution."""
    side = round(min(photo.shape[:2]) * classifier.preprocessing.image_size / classifier.size)
    return center_crop(photo[None], side)[0]


def check_output(options: Options) -> None:
    """Refuses a directory that holds something else than a gallery, or one that is not to be lost.

    Raises:
        ValueError: there is something in it; the message says what to do.
    """
    directory = options.output
    if not directory.exists():
        return
    if any(directory.iterdir()) and not (directory / MARKER).exists():
        raise ValueError(f"{directory} is not empty and not a gallery (it has no {MARKER}): choose another --output")
    if (directory / MARKER).exists() and not options.overwrite:
        raise ValueError(f"{directory} holds a gallery: give another --output, or --overwrite")


def write(directory: Path, options: Options, drawn: dict[str, Figure], summary: dict[str, str]) -> Path:
    """Writes the figures and the page of them, in place of those that were there; returns the page."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / MARKER, to_json(options))
    shutil.rmtree(directory / "figures", ignore_errors=True)
    return write_report(
        directory, title="What filters and networks see", summary=summary, config=to_json(options), records=[],
        figures=drawn,
    )  # fmt: skip


def main() -> None:
    """Draws as the command line says."""
    options = tyro.cli(Options, prog="python -m train.gallery", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        check_output(options)
        photo = read_photo(options.photo, sample=options.sample)
        check_photo(options.photo, grey(photo), FILTERS["sobel"])
        classifier = read_trained(options.run) if options.run else None
        drawn = drawings(photo, classifier)
        about = str(options.photo or f"{options.sample} of scikit-learn")
        page = write(options.output, options, drawn, {"photograph": about, "network": str(options.run or "none")})
    if classifier is None:
        print("no --run was given: what needs a trained network is left out (feature maps, heat maps, explanations)")
    print(f"{len(drawn)} figures: {page}")


if __name__ == "__main__":
    main()
