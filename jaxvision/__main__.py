"""`python -m jaxvision list [PATTERN]`, `... weights [PATTERN]` and `... summary MODEL`."""

import argparse

import jax
from flax.errors import FlaxError

from jaxvision.registry import MODELS, create_model, list_models, unknown_name
from jaxvision.summary import summarize, table, totals
from jaxvision.weights.published import PUBLISHED, UNPUBLISHED, published_table


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; what it cannot do ends it with a message and exit code 2."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    try:
        command(**options)
    except (TypeError, ValueError, FlaxError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision", description="The models of jaxvision.")
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="models with their parameters and multiply-adds")
    listing.add_argument("pattern", nargs="?", default="*", help='such as "resnet*"')
    listing.set_defaults(command=print_models)
    weights = commands.add_parser("weights", help="published weights: where from, how checked, licence, accuracy")
    weights.add_argument("pattern", nargs="?", default="*", help='such as "resnet50*"')
    weights.set_defaults(command=print_weights)
    layers = commands.add_parser("summary", help="the layers of one model")
    layers.add_argument("name", metavar="MODEL")
    for option in ("--image-size", "--num-classes", "--in-channels"):
        layers.add_argument(option, type=int, metavar="N", help="other than the model's own")
    layers.set_defaults(command=print_layers)
    return parser


def print_models(pattern: str) -> None:
    """Prints a line for each model whose name matches, as soon as it is counted."""
    names = list_models(pattern)
    if not names:
        raise ValueError(f"no model matches {pattern!r}")
    width = max(map(len, names))
    print(f"{'model':{width}}  {'parameters':>13}  {'GMAC':>8}")
    for name in names:
        parameters, multiply_adds = totals(summarize(create_model(name)))
        print(f"{name:{width}}  {parameters:13,}  {multiply_adds / 1e9:8.4f}", flush=True)


def print_weights(pattern: str) -> None:
    """Prints a table in Markdown of the published weights of the models whose names match, then those without."""
    names = list_models(pattern)
    if not names:
        raise ValueError(f"no model matches {pattern!r}")
    rows = {name: row for name, row in PUBLISHED.items() if name.partition(".")[0] in names}
    if rows:
        print(published_table(rows))
    if without := [name for name in names if name in UNPUBLISHED]:
        print(f"None are published of {', '.join(without)}.")


def print_layers(name: str, image_size: int | None, **options: int | None) -> None:
    """Prints the layers of a model."""
    for option, value in {"image_size": image_size, **options}.items():
        least = 0 if option == "num_classes" else 1
        if value is not None and value < least:
            raise ValueError(f"--{option.replace('_', '-')} must be {least} or more, got {value}")
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, MODELS))
    model = create_model(name, **{option: value for option, value in options.items() if value is not None})
    example = model.example_input()
    if image_size is not None:
        example = _resized(example, image_size)
    print(table(summarize(model, example)))


def _resized(image: jax.ShapeDtypeStruct, size: int) -> jax.ShapeDtypeStruct:
    if image.ndim != 4:
        raise ValueError(f"the model's input is no image: its shape is {image.shape}")
    return image.update(shape=(image.shape[0], size, size, image.shape[3]))


if __name__ == "__main__":
    main()
