"""The error of everything that reads or writes weights."""


class WeightsError(ValueError):
    """A file that cannot be read, or weights that do not fit the model."""
