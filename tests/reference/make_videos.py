"""Computes with PyTorch, in float64, what classifiers of videos are compared with.

`python -m tests.reference.make_videos` writes videos.npz beside this file: for each case, in training, the logits of
every frame, those of the videos, the sum of the losses, its gradients by the weights, and the weights after two steps
of gradient descent. The head is applied to one
video after the other, without what follows its last frame.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.reference import video_cases as cases
from tests.reference.torch_descent import after_steps

FILE = Path(__file__).with_name("videos.npz")


class VideoClassifier(nn.Module):
    """A convolution with BatchNorm for every frame, and a head."""

    def __init__(self, head_kind: str, num_layers: int, frozen: bool):
        super().__init__()
        self.frozen = frozen
        self.conv = nn.Conv2d(cases.IMAGE[-1], cases.FEATURES, 3, 2, 1)
        self.norm = nn.BatchNorm2d(cases.FEATURES)
        if head_kind == "lstm":
            self.recurrent = nn.LSTM(cases.FEATURES, cases.HIDDEN, num_layers)
        self.head = nn.Linear(cases.HIDDEN if head_kind == "lstm" else cases.FEATURES, cases.CLASSES)

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:  # [B, T, C, H, W] -> of [T, K]
        if self.frozen:
            self.norm.eval()
        pooled = torch.relu(self.norm(self.conv(frames.flatten(0, 1)))).mean((2, 3)).unflatten(0, frames.shape[:2])
        pooled = pooled.detach() if self.frozen else pooled
        videos = [video[:length] for video, length in zip(pooled, cases.LENGTHS, strict=True)]
        if hasattr(self, "recurrent"):
            videos = [self.recurrent(video)[0] for video in videos]
        return [self.head(video) for video in videos]


def results(case: str) -> dict[str, np.ndarray]:
    """Returns outputs, gradients and statistics of a case."""
    network = VideoClassifier(**cases.CASES[case]).double()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.ndim}
    drawn = {name: torch.from_numpy(w) for name, w in cases.weights(case, shapes).items()}
    network.load_state_dict(drawn, strict=False)
    frames, labels = torch.from_numpy(cases.frames(case)).movedim(-1, 2), torch.from_numpy(cases.labels(case))

    def run():
        told = network(frames)
        logits = torch.stack([of_frames.mean(0) for of_frames in told])
        return functional.cross_entropy(logits, labels, reduction="sum"), logits, told

    loss, logits, told = run()
    loss.backward()
    found = {"frames": torch.cat(told), "logits": logits, "loss": loss}
    found |= {
        f"gradient of {name}": torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in network.named_parameters()
    }
    found |= after_steps(network, lambda: run()[0])
    return {f"{case}: {name}": value.detach().numpy() for name, value in found.items()}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    return {name: array for case in cases.CASES for name, array in results(case).items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
