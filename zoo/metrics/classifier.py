"""The judge of what a picture shows: a small residual network with one head for each attribute.

It learns from real pictures only and never meets a generator, so a generator cannot have learnt to
please it. Its pooled features and the predictions of one head serve Inception Score and FID where
Inception-v3's weights are not to be had; such figures are named "FID(classifier)".
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...backend.weights import load_weights, save_weights

MAX_BYTES = 64 * 2**20
MAX_WIDTH, MAX_TASKS, MAX_CLASSES = 256, 100, 1000


class Trunk(nn.Sequential):
    """Features of an eighth of the side: three strides of 2, a residual block after each.

    Args:
        width: channels at half the side; twice and four times as many follow.
    """

    def __init__(self, width: int) -> None:
        stages: list[nn.Module] = []
        before = 3
        for channels in (width, 2 * width, 4 * width):
            stages += [
                nn.Conv2d(before, channels, 5 if before == 3 else 3, 2, 2 if before == 3 else 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                Residual(channels),
            ]
            before = channels
        super().__init__(*stages)
        self.channels = before


class Residual(nn.Module):
    """A convolution beside the identity.

    Args:
        channels: of input and output, (B, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        return torch.relu(values + self.norm(self.convolution(values)))


class Look(nn.Module):
    """Pooling that looks at a place of its own for each of several questions.

    A bird's beak is a few pixels: a mean over the picture would drown its colour.

    Args:
        channels: C of the features.
        questions: Q.
    """

    def __init__(self, channels: int, questions: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(channels, questions, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, Q, C): the mean under each question's softmax over places."""
        weights = self.scores(features).flatten(2).float().softmax(2)
        pooled: Tensor = weights @ features.flatten(2).float().transpose(1, 2)
        return pooled


class Classifier(nn.Module):
    """Predicts every attribute of a picture.

    Args:
        classes: number of values by attribute.
        width: of the `Trunk`.
    """

    def __init__(self, classes: dict[str, int], width: int = 32) -> None:
        super().__init__()
        self.classes = dict(classes)
        self.width = width
        self.trunk = Trunk(width)
        self.look = Look(self.trunk.channels, len(classes))
        heads = [nn.Linear(self.trunk.channels, count) for count in classes.values()]
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Look at pictures.

        Args:
            images: (B, 3, S, S) in [-1, 1], S >= 8.

        Returns:
            Logits by attribute, (B, classes) float32, and pooled features (B, 4 width) float32.
        """
        features = self.trunk(images)
        seen = self.look(features)  # (B, Q, C)
        pairs = zip(self.classes, self.heads, strict=True)
        logits = {name: head(seen[:, index]) for index, (name, head) in enumerate(pairs)}
        return logits, features.mean((2, 3)).float()


def classifier_loss(logits: dict[str, Tensor], truth: dict[str, Tensor]) -> Tensor:
    """Cross entropy, averaged over the pictures that an attribute applies to, then summed.

    Args:
        logits: by attribute, (B, classes).
        truth: by attribute, (B,) int64, -1 where it does not apply.

    Returns:
        Scalar.
    """
    losses = []
    for name, values in logits.items():
        known = (truth[name] >= 0).sum().clamp(min=1)
        total = functional.cross_entropy(values, truth[name], ignore_index=-1, reduction="sum")
        losses.append(total / known)
    return torch.stack(losses).sum()


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write a classifier as safetensors.

    Args:
        classifier: see `Classifier`.
        path: file.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    shape = {"classes": classifier.classes, "width": classifier.width}
    save_weights(classifier, path, {"classifier": json.dumps(shape)})


def load_classifier(path: Path) -> Classifier:
    """Read a classifier.

    Args:
        path: file that `save_classifier` wrote.

    Returns:
        The network, for use.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """
    return load_weights(path, _build, MAX_BYTES).eval()


def _build(meta: dict[str, str]) -> Classifier:
    try:
        shape = json.loads(meta["classifier"])
        classes, width = shape["classes"], shape["width"]
        counts = list(classes.values())
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError("not a classifier of this package") from None
    fits = isinstance(width, int) and 1 <= width <= MAX_WIDTH and 1 <= len(counts) <= MAX_TASKS
    if not fits or not all(isinstance(n, int) and 1 <= n <= MAX_CLASSES for n in counts):
        raise ValueError("a classifier of sizes that this package does not have")
    return Classifier(classes, width)
