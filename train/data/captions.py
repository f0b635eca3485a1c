"""Images with captions: scenes of handwritten digits, or photographs in the layout of COCO.

DIR/annotations/captions_train2017.json and captions_val2017.json, their images in DIR/train2017 and DIR/val2017: some
of the first are held out for validation, the others are the test split (https://cocodataset.org). Shapes: N images,
R captions of an image, T tokens.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvision.registry import unknown_name
from train.data import scenes
from train.data.image_files import BadImages, FileSplit, ReadingConfig
from train.data.images import LabelledImages
from train.data.parallel import END, PAD, START, Vocabulary, vocabulary
from train.data.text import from_utf_8

SCENES_SEED = 0
MOST_CAPTIONS = 5  # of an image that are learnt; five is what most images of COCO have
HELD_OUT = 5_000  # images of COCO's training part, or a tenth of them if that is less


@dataclasses.dataclass(frozen=True)
class CaptionedSplit:
    """A split.

    Attributes:
        images: whose labels are the places of their captions.
        references: N lists of captions.
        tokens: int32 [N, R, T + 1]: `START`, a caption, `END`, and `PAD`; nothing but `PAD` where there are fewer.
    """

    images: LabelledImages
    references: Sequence[Sequence[str]]
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class CaptionSet:
    """Images with captions in three splits.

    Attributes:
        train, val, test: the splits.
        vocabulary: of the training part.
        digest: SHA-256 of all captions.
        num_cut: captions of the tokens, of all splits, that were longer.
    """

    train: CaptionedSplit
    val: CaptionedSplit
    test: CaptionedSplit
    vocabulary: Vocabulary
    digest: str
    num_cut: int

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest caption that is learnt, its end included."""
        return self.train.tokens.shape[-1] - 1


def load_captions(
    name: str,
    directory: Path | None,
    image_size: int,
    reading: ReadingConfig,
    *,
    min_count: int,
    max_words: int,
    max_length: int,
) -> CaptionSet:
    """Loads images with captions.

    Args:
        name: "scenes" or "coco".
        directory: of COCO's files.
        image_size: height and width that images are resized to.
        reading: how image files are read.
        min_count: how often the training captions have a word, at the least; others are unknown.
        max_words: words of the vocabulary at most, the most frequent.
        max_length: words of a caption that are learnt; what follows is cut off.

    Raises:
        ValueError: no set has that name, or a file is not as it should be; the message names it.
        OSError: a file is not there.
    """
    if name not in ("scenes", "coco"):
        raise ValueError(unknown_name("set of captions", name, ("scenes", "coco")))
    if name == "coco" and directory is None:
        raise ValueError("--data coco needs --data-dir, the directory of annotations, train2017 and val2017")
    if name == "scenes" and directory is not None:
        raise ValueError(f"--data scenes makes its own: it takes no --data-dir, got {directory}")
    if name == "scenes" and image_size != scenes.SCENE:
        raise ValueError(f"--data scenes is of {scenes.SCENE}x{scenes.SCENE} pixels, got --image-size {image_size}")
    parts = scenes.generate(SCENES_SEED) if name == "scenes" else load_coco(directory, image_size, reading)
    texts = [caption for captions in parts["train"][1] for caption in captions]
    words = vocabulary(texts, words=True, min_count=min_count, limit=max_words)
    return _encoded(parts, words, max_length)


def _encoded(
    parts: Mapping[str, tuple[LabelledImages, Sequence[Sequence[str]]]], words: Vocabulary, max_length: int
) -> CaptionSet:
    texts = {name: captions for name, (_, captions) in parts.items()}
    rows = {
        name: [[words.encode(caption) for caption in several[:MOST_CAPTIONS]] for several in captions]
        for name, captions in texts.items()
    }
    splits = {
        name: CaptionedSplit(images, captions, _tokens(rows[name], max_length))
        for name, (images, captions) in parts.items()
    }
    num_cut = sum(len(row) > max_length for part in rows.values() for several in part for row in several)
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return CaptionSet(**splits, vocabulary=words, digest=digest, num_cut=num_cut)


def _tokens(rows: Sequence[Sequence[Sequence[int]]], max_length: int) -> np.ndarray:  # -> int32 [N, R, T + 1]
    longest = min(max_length, max(len(row) for several in rows for row in several))
    most = max(map(len, rows))
    tokens = np.full((len(rows), most, longest + 2), PAD, np.int32)
    for places, several in zip(tokens, rows, strict=True):
        places[: len(several)] = framed([row[:max_length] for row in several], longest)
    return tokens


def framed(captions: Sequence[Sequence[int]], longest: int) -> np.ndarray:  # -> int32 [N, T + 1]
    """Returns captions of tokens with `START` before and `END` after each, padded to those of the longest."""
    tokens = np.full((len(captions), longest + 2), PAD, np.int32)
    for place, caption in zip(tokens, captions, strict=True):
        place[: len(caption) + 2] = [START, *caption, END]
    return tokens


def load_coco(directory: Path, image_size: int, reading: ReadingConfig) -> dict[str, tuple[FileSplit, list[list[str]]]]:
    """Reads COCO's captions, in small letters and without punctuation, and finds their images.

    Raises:
        ValueError: a file of captions is damaged, is of images that it does not list, or lists one without captions.
        OSError: a file of captions is not there.
    """
    found = {part: read_coco(directory, part) for part in ("train2017", "val2017")}
    files = sorted(found["train2017"], key=lambda file: hashlib.sha256(Path(file).name.encode()).digest())
    held_out = min(HELD_OUT, len(files) // 10)
    if held_out == 0:
        raise ValueError(f"{directory / 'train2017'}: a tenth of {len(files)} images is none to validate with")
    bad = BadImages(sum(map(len, found.values())), reading.max_bad_images)

    def split(names: Sequence[str], captions: Mapping[str, list[str]]) -> tuple[FileSplit, list[list[str]]]:
        images = FileSplit(tuple(names), np.arange(len(names), dtype=np.int32), image_size, reading.workers, bad)
        return images, [captions[name] for name in names]

    return {
        "train": split(sorted(files[held_out:]), found["train2017"]),
        "val": split(sorted(files[:held_out]), found["train2017"]),
        "test": split(sorted(found["val2017"]), found["val2017"]),
    }


def read_coco(directory: Path, part: str) -> dict[str, list[str]]:
    """Returns the captions of each image file of a part, such as "val2017"; see `load_coco`."""
    path = directory / "annotations" / f"captions_{part}.json"
    text = from_utf_8(path.read_bytes(), path)
    try:
        content = json.loads(text)
        names = {image["id"]: str(directory / part / image["file_name"]) for image in content["images"]}
        captions: dict[str, list[str]] = {name: [] for name in names.values()}
        for place, row in enumerate(content["annotations"]):
            if not isinstance(row["caption"], str):
                raise ValueError(f"annotations[{place}] has the caption {row['caption']!r}, a text was expected")
            captions[names[row["image_id"]]].append(plain(row["caption"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a file of COCO's captions: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path} is not a file of COCO's captions: there is no {error}") from error
    if not captions:
        raise ValueError(f"{path} lists no image")
    if empty := [name for name, several in captions.items() if not any(several)]:
        raise ValueError(f"{path}: {len(empty)} of {len(captions)} images have no caption, the first {empty[0]}")
    return captions


def plain(caption: str) -> str:
    """Returns a caption in small letters and without punctuation."""
    return " ".join(re.findall(r"\w+", caption.lower()))
