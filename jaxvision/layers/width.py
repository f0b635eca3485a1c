"""Numbers of channels."""


def round_width(width: float, divisor: int = 8) -> int:
    """Returns the multiple of the divisor nearest to a width, but none smaller than nine tenths of it.

    https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/mobilenet.py

    Args:
        width: channels as calculated, 1 or more.
        divisor: what the channels are to be divided by.
    """
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * width else nearest + divisor
