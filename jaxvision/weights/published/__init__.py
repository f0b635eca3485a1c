"""The published weights of each registered model: where they are, how they are told from others, what they need.

The keys are timm's: the model's name and a tag. The first row of a model is what its bare name stands for: weights that
can be fetched, torchvision's before others.

Addresses, licences and input are those of torchvision 0.28 and timm 1.0.31, the accuracy is that of torchvision's
metadata and of timm's results/results-imagenet.csv. Eight or ten hexadecimal digits of SHA-256 are in the publisher's
file name; the hub's commits and whole digests are those that projects unrelated to each other recorded when they
fetched the files, but where a family's file says otherwise. No file was fetched for this table.
"""

from collections.abc import Mapping

from jaxvision.weights.published import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    regnet,
    resnet,
    shufflenet_v2,
    squeezenet,
    swin,
    vgg,
    vit,
)
from jaxvision.weights.published.row import Published

__all__ = ["PUBLISHED", "UNPUBLISHED", "Published", "published_table"]

PUBLISHED: Mapping[str, Published] = {
    **alexnet.PUBLISHED,
    **vgg.PUBLISHED,
    **googlenet.PUBLISHED,
    **inception.PUBLISHED,
    **resnet.PUBLISHED,
    **densenet.PUBLISHED,
    **squeezenet.PUBLISHED,
    **mobilenet_v2.PUBLISHED,
    **mobilenet_v3.PUBLISHED,
    **mnasnet.PUBLISHED,
    **shufflenet_v2.PUBLISHED,
    **regnet.PUBLISHED,
    **efficientnet.PUBLISHED,
    **convnext.PUBLISHED,
    **vit.PUBLISHED,
    **swin.PUBLISHED,
}

UNPUBLISHED = (
    "mlp",
    "convnet",
    "lenet5",
    "airbench94",
    "lstm_rows",
    *alexnet.UNPUBLISHED,
    *nin.UNPUBLISHED,
    *googlenet.UNPUBLISHED,
    *resnet.UNPUBLISHED,
    *densenet.UNPUBLISHED,
    *vit.UNPUBLISHED,
    *swin.UNPUBLISHED,
)
"""Models of which no weights are published that this library knows."""


def published_table(rows: Mapping[str, Published]) -> str:
    """Returns published weights as a table in Markdown, aligned."""
    lines = [("weights", "file", "SHA-256", "licence", "top-1 %", "input")]
    for name, row in rows.items():
        known = {64: "whole", 0: "not known"}.get(len(row.sha256), f"{len(row.sha256)} digits")
        lines.append((f"`{name}`", row.source, known, row.licence, f"{row.accuracy:.2f}", str(row.preprocessing)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body])
