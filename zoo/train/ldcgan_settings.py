"""What decides a training of LDcGAN, and what its step passes around."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..ldcgan import NORMS, LdcGanOutput
from ..ldcgan_losses import Weights

ADVERSARIAL = ("bce", "wgan-gp")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of D and G, one each in turn.
        batch: faces per step, over all processes.
        rate: learning rate of Adam, of both (Sec 4.4.1).
        decay: of the moving average of G, which is what is kept.
        weights: of the terms of L_G, see `ldcgan_losses.Weights`.
        second_cycle: the second term of Eq 4.13, a third pass of G.
        conditional: the age-conditional halves of Eq 4.6-4.9.
        unconditional: the unconditional halves.
        adversarial: "bce", as the equations are, or "wgan-gp", as the prose says.
        norm: of D, "batch", or "layer", which sees what all generated faces of a batch have in
            common, and which WGAN-GP needs; see `ldcgan.Discriminator`.
        penalty: with "bce" the weight of gamma/2 E |grad D|^2 at real faces, taken every 16th step
            (Mescheder et al. 2018), which 0 leaves out, as the thesis does; with "wgan-gp" the
            weight of its penalty, as 10.
        shift: largest shift of the faces that D sees, real and generated, as a share of the side
            (Zhao et al. 2020); 0 leaves it out.
        edges: weight in the paired loss of the steps from pixel to pixel; large ones sharpen what
            is there, and keep random weights from changing anything.
        prototypes: where nobody is seen at two ages, the paired loss asks for what
            `prototypes.Prototypes` makes of the face; else those faces have no paired loss.
        noise: most noise in what D_A sees, see `face_batches.noisy`; as it was trained with.
        coarse: D_A sees the means of squares of so many pixels, enlarged again, so that no pattern
            finer than them pleases it; 1: the faces as they are.
        balanced: draw inputs of each age group equally often; else each face.
        seed: of everything.
        precision: "bf16" or "fp32", of the networks' convolutions.
    """

    steps: int = 50_000
    batch: int = 16
    rate: float = 2e-4
    decay: float = 0.999
    weights: Weights = field(default_factory=Weights)
    second_cycle: bool = True
    conditional: bool = True
    unconditional: bool = True
    adversarial: str = "bce"
    norm: str = "batch"
    penalty: float = 0.0
    shift: float = 0.0
    edges: float = 1.0
    prototypes: bool = False
    noise: float = 0.0
    coarse: int = 1
    balanced: bool = True
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "coarse"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "penalty", "noise", "edges"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        for name in ("decay", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")
        if self.adversarial not in ADVERSARIAL:
            raise ValueError(f"adversarial must be bce or wgan-gp, got {self.adversarial!r:.40}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be batch or layer, got {self.norm!r:.40}")
        if self.adversarial == "wgan-gp" and not self.penalty:
            raise ValueError("wgan-gp needs a penalty; 10 is usual")
        if self.adversarial == "wgan-gp" and self.norm == "batch":
            raise ValueError("wgan-gp needs the norm layer: batch norm would falsify its penalty")
        if self.weights.judged and not (self.conditional or self.unconditional):
            raise ValueError("switch the conditional or the unconditional loss on")


class Batch(NamedTuple):
    """What a process sees of a step; n faces.

    Attributes:
        images: I, (n, 3, S, S) in [-1, 1].
        landmarks: L, (n, 136).
        sources: (n,) int64, their age groups.
        targets: (n,) int64, age groups asked for.
        real: I^GT, (n, 3, S, S), other faces of the target groups.
        truth: (n, 3, S, S), the same people at the target ages where data has them.
        known: (n,) bool, where.
        offsets: (3, 2, n, 2) int64, shifts for D: of real and generated faces and those of G, for
            the primal and the dual pass.
        mix: (2 n,) in [0, 1), where between real and generated WGAN-GP looks.
        noise: (2, n, 2) in [0, 1), on the CPU, draws for `face_batches.noisy`, by pass.
    """

    images: Tensor
    landmarks: Tensor
    sources: Tensor
    targets: Tensor
    real: Tensor
    truth: Tensor
    known: Tensor
    offsets: Tensor
    mix: Tensor
    noise: Tensor


class Passes(NamedTuple):
    """What G makes of a batch.

    Attributes:
        aged: of G_f(I, C_t).
        back: of G_r(I*, C_s); None where no term needs it.
        twice: of G_f(I_r, C_t), for the second term of Eq 4.13.
        landmarks: L*, (n, 136), G_L's at the target age.
    """

    aged: LdcGanOutput
    back: LdcGanOutput | None
    twice: LdcGanOutput | None
    landmarks: Tensor

    @property
    def outputs(self) -> list[LdcGanOutput]:
        """Those that were made."""
        return [output for output in self[:3] if output is not None]
