"""The published weights of each registered model: where they are, how they are told from others, what they need.

The keys are timm's: the model's name and a tag. The first row of a model is what its bare name stands for: weights that
can be fetched, torchvision's before others.

Addresses, licences and input are those of torchvision 0.28 and timm 1.0.31, the accuracy is that of torchvision's
metadata and of timm's results/results-imagenet.csv. Eight hexadecimal digits of SHA-256 are in the publisher's file
name; the hub's commits and whole digests are those that projects unrelated to each other recorded when they fetched the
files, but where a family's file says otherwise. No file was fetched for this table.
"""

from collections.abc import Mapping

from jaxvision.weights.published import convnext, efficientnet, regnet, resnet
from jaxvision.weights.published.row import Published

__all__ = ["PUBLISHED", "UNPUBLISHED", "Published", "published_table"]

PUBLISHED: Mapping[str, Published] = {
    **resnet.PUBLISHED,
    **convnext.PUBLISHED,
    **regnet.PUBLISHED,
    **efficientnet.PUBLISHED,
}

UNPUBLISHED = ("lenet5", *resnet.UNPUBLISHED)
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
