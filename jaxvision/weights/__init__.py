"""Reading and writing weights."""


class WeightsError(ValueError):
    pass


def load_weights(): ...
def save_weights(): ...
