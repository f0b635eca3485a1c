"""The errors of everything that reads or writes weights."""


class WeightsError(ValueError):
    """A file that cannot be fetched or read, or weights that do not fit the model."""


class DigestError(WeightsError):
    """A file that is not the one asked for: damaged, or another."""
