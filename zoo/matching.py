"""How well images and texts match: scores and losses of DAMSM, L_DAMSM of Eq 3.5.

As Xu et al. 2018, Sec 3.2.

Reading: the equations of the paper with the constants of its published configuration. All scores
are computed in float32, also inside autocast, for every pair of a batch at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

GAMMA_1 = 4.0
"""How sharply a word looks at its regions (Eq 9)."""
GAMMA_2 = 5.0
"""How much the best matching words count in the score of a text (Eq 10)."""
GAMMA_3 = 10.0
"""How sharply the losses tell the right text from the others (Eq 11)."""
SMALLEST = 1e-8
"""Lengths of vectors are taken to be at least this."""


class DamsmLoss(NamedTuple):
    """The two losses, each the sum of both directions.

    Attributes:
        words: scalar, L_1^w + L_2^w: which text, which image, told by words and regions.
        sentence: scalar, L_1^s + L_2^s: the same, told by the whole text and the whole image.
    """

    words: Tensor
    sentence: Tensor


def word_attention(regions: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """Where each word of a text looks in the image beside it (Eq 7-9).

    Args:
        regions: (B, D, h, w).
        words: (B, D, L), text b belongs to image b.
        mask: (B, L) bool, True where there is a word; at least one in every row.

    Returns:
        (B, L, h, w) float32, at least 0, of sum 1 over the regions; 0 where there is no word.
    """
    with torch.autocast(regions.device.type, enabled=False):
        similarity = words.float().transpose(1, 2) @ regions.float().flatten(2)  # (B, L, R)
        share = similarity.masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
        attention = (GAMMA_1 * share).softmax(2) * mask[:, :, None]
        return attention.reshape(*mask.shape, *regions.shape[2:])


def word_scores(regions: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """R(Q, D) of Eq 7-10 for every image Q and every text D.

    Reading: log of the sum over words, divided by gamma2, as the paper has it; the published code
    leaves the division out.

    Args:
        regions: (I, D, h, w).
        words: (C, D, L).
        mask: (C, L) bool, True where there is a word; at least one in every row.

    Returns:
        (I, C) float32, at most 1 + log(L) / gamma2; differentiable.
    """
    with torch.autocast(regions.device.type, enabled=False):
        images, texts, length = len(regions), len(words), words.shape[2]
        places = regions.float().flatten(2)  # (I, D, R)
        flat = words.float().permute(1, 0, 2).flatten(1)  # (D, C L)
        similarity = places.transpose(1, 2) @ flat  # (I, R, C L), s of Eq 7
        share = similarity.unflatten(2, (texts, length)).masked_fill(~mask, -torch.inf).softmax(3)
        attention = (GAMMA_1 * share.flatten(2)).softmax(1)  # Eq 8, 9
        # The context c is the attention's mean of the regions. Its product with the word and its
        # length follow from products that are there or small, so no c of each pair is ever built.
        product = (attention * similarity).sum(1)  # (I, C L), c e
        gram = places.transpose(1, 2) @ places  # (I, R, R)
        square = (attention * (gram @ attention)).sum(1)  # c c
        sizes = square.clamp(min=SMALLEST**2).sqrt() * flat.norm(dim=0)
        cosine = (product / sizes.clamp(min=SMALLEST)).view(images, texts, length)
        weighted = (GAMMA_2 * cosine).masked_fill(~mask, -torch.inf)
        scores: Tensor = weighted.logsumexp(2) / GAMMA_2
        return scores


def sentence_scores(whole: Tensor, sentence: Tensor) -> Tensor:
    """Cosine of every image with every text.

    Args:
        whole: (I, D), images.
        sentence: (C, D), texts.

    Returns:
        (I, C) float32 in [-1, 1]; differentiable.
    """
    with torch.autocast(whole.device.type, enabled=False):
        images = functional.normalize(whole.float(), eps=SMALLEST)
        return images @ functional.normalize(sentence.float(), eps=SMALLEST).T


def damsm_loss(
    regions: Tensor,
    whole: Tensor,
    words: Tensor,
    sentence: Tensor,
    mask: Tensor,
    labels: Tensor | None = None,
) -> DamsmLoss:
    """The matching losses of a batch in which text b describes image b (Eq 11-13).

    Args:
        regions: (B, D, h, w), of a `damsm.Damsm`'s image encoder.
        whole: (B, D), of the same.
        words: (B, D, L), of the text encoder.
        sentence: (B, D), of the same.
        mask: (B, L) bool, True where there is a word; at least one in every row.
        labels: (B,) classes. Other pairs of the same class do not count as wrong ones: a text
            about a species may well fit another picture of it.

    Returns:
        The losses, float32; log(B) each way for a network that knows nothing.
    """
    own = torch.arange(len(whole), device=whole.device)
    alike = None
    if labels is not None:
        alike = (labels[:, None] == labels) & (own[:, None] != own)
    return DamsmLoss(
        _both_ways(word_scores(regions, words, mask), own, alike),
        _both_ways(sentence_scores(whole, sentence), own, alike),
    )


def _both_ways(scores: Tensor, own: Tensor, alike: Tensor | None) -> Tensor:
    logits = GAMMA_3 * scores
    if alike is not None:
        logits = logits.masked_fill(alike, -torch.inf)
    cross_entropy = functional.cross_entropy
    return cross_entropy(logits, own) + cross_entropy(logits.T, own)
