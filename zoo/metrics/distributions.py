"""Inception Score and FID: how a set of pictures is distributed, as a network sees it (Sec 2.6.3).

Both depend on the network, so a figure always names it: "FID(inception-v3)", "FID(classifier)".

| figure | floor                              | ceiling                                           |
|--------|------------------------------------|---------------------------------------------------|
| IS     | 1, all predictions alike           | the number of classes, sure of each equally often |
| FID    | large: measure it on noise         | 0 for copies; measure it on another real draw     |

FID is biased upwards in small samples (Binkowski et al. 2018): compare figures of equally many
pictures only.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = 10
"""Parts of Salimans et al. 2016, over which the Inception Score's mean and deviation are taken."""
_SURE = 1.96  # standard errors of a 95 % interval


class Score(NamedTuple):
    """A figure of a whole set.

    Attributes:
        value: the figure.
        spread: Inception Score: its standard deviation over the parts. FID: half the width of its
            95 % interval.
    """

    value: float
    spread: float


class Moments(NamedTuple):
    """A Gaussian fitted to features.

    Attributes:
        mean: (F,) float64.
        covariance: (F, F) float64, of the sample: divided by N - 1.
    """

    mean: Tensor
    covariance: Tensor


# --- Inception Score -----------------------------------------------------------------------------


def inception_score(probabilities: Tensor, splits: int = SPLITS) -> Score:
    """exp of the mean KL divergence of p(y|x) from p(y) (Eq 2.12; Salimans et al. 2016), float64.

    Args:
        probabilities: (N, classes), rows that sum to 1, in the order of drawing: each part should
            be a fair sample.
        splits: how many parts the set is cut into, in order; the score is their mean.

    Returns:
        Mean and (population) standard deviation over the parts, in [1, classes].

    Raises:
        ValueError: rows that are no distributions, or fewer rows than parts.
    """
    if probabilities.dim() != 2 or not 1 <= splits <= len(probabilities):
        raise ValueError(
            f"cannot cut predictions of shape {tuple(probabilities.shape)} into {splits} parts"
        )
    table = probabilities.double()
    sums = table.sum(1)
    if not (table >= 0).all() or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise ValueError("predictions must be probabilities: not negative, rows that sum to 1")
    table = table / sums[:, None]
    scores = []
    for part in table.tensor_split(splits):
        marginal = part.mean(0)
        # xlogy: a class of probability 0 adds nothing
        divergence = torch.special.xlogy(part, part) - torch.special.xlogy(part, marginal)
        scores.append(divergence.sum(1).mean().exp())
    values = torch.stack(scores)
    return Score(values.mean().item(), values.std(correction=0).item())


# --- FID -----------------------------------------------------------------------------------------


def moments(features: Tensor) -> Moments:
    """Mean and covariance of features, in float64.

    Args:
        features: (N, F), N >= 2, finite.

    Returns:
        The Gaussian.

    Raises:
        ValueError: fewer than two rows, or a value that is not finite.
    """
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"need features of two pictures or more, got {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("features hold NaN or infinity")
    values = features.double()
    mean = values.mean(0)
    centred = values - mean
    return Moments(mean, centred.T @ centred / (len(values) - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Frechet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017).

    |m1 - m2|^2 + tr(S1 + S2) - 2 tr((S1 S2)^1/2)

    The eigenvalues of S1 S2 are those of S1^1/2 S2 S1^1/2, which is symmetric: the trace of the
    root is the sum of their roots. So singular covariances, of fewer pictures than features, need
    no care, and no imaginary part has to be thrown away.

    Args:
        first: a Gaussian.
        second: a Gaussian of as many features.

    Returns:
        The distance, 0 or more.
    """
    return _distance(first, _root(first.covariance), second)


def fid(real: Tensor, generated: Tensor, groups: int = 10) -> Score:
    """Frechet distance between the features of two sets, with its uncertainty.

    The uncertainty is that of drawing other pictures of the second set, by the jackknife that
    leaves out one group at a time.

    Args:
        real: (N, F) features.
        generated: (M, F) features, in the order of drawing.
        groups: of the jackknife; fewer where there are fewer pictures.

    Returns:
        The distance, and half the width of its 95 % interval.

    Raises:
        ValueError: fewer than two rows, different features, or a value that is not finite.
    """
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"features of two networks: {tuple(real.shape)} and {tuple(generated.shape)}"
        )
    reference = moments(real)
    root = _root(reference.covariance)
    value = _distance(reference, root, moments(generated))
    groups = min(groups, len(generated))
    number = torch.arange(len(generated), device=generated.device) % groups
    kept = [generated[number != left_out] for left_out in range(groups)]
    if groups < 2 or min(map(len, kept)) < 2:
        return Score(value, float("inf"))  # nothing is known of it
    others = torch.tensor([_distance(reference, root, moments(part)) for part in kept])
    error = ((groups - 1) / groups * ((others - others.mean()) ** 2).sum()).sqrt()
    return Score(value, _SURE * error.item())


def _root(covariance: Tensor) -> Tensor:
    """Symmetric square root; rounding below 0 counts as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _distance(first: Moments, root: Tensor, second: Moments) -> float:
    product = root @ second.covariance @ root
    values = torch.linalg.eigvalsh((product + product.T) / 2)
    # Rounding moves an eigenvalue of 0 by about 1e-16 of the largest one; its root is 1e-8 of it.
    values = torch.where(values > 1e-14 * values.max(), values, 0)
    trace = first.covariance.trace() + second.covariance.trace() - 2 * values.sqrt().sum()
    return max(0.0, (((first.mean - second.mean) ** 2).sum() + trace).item())
