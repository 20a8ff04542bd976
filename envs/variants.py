"""The painting environments besides `NeuralPaint-v0`. Their docstrings are the specification."""

from types import MappingProxyType

from .neural_paint import NeuralPaintEnv, Pictures


class NeuralPaintGrayEnv(NeuralPaintEnv):
    """Draw a gray picture with a pencil on white paper.

    ## Description

    `NeuralPaint-v0` with one channel: strokes have an intensity in place of a colour, the target
    is the luminance of the picture, and the canvas begins white.

    ## Action Space

    `Box(0, 1, (bundle * 11,), float32)`: the strokes of a bundle one after the other.

    | number | field          | meaning                                                        |
    |--------|----------------|----------------------------------------------------------------|
    | 0 - 5  | x0 y0 x1 y1 x2 y2 | start, middle and end point, as in `NeuralPaint-v0`         |
    | 6, 8   | z0, z1         | thickness at the ends, as in `NeuralPaint-v0`                  |
    | 7, 9   | v0, v1         | opacity at the ends: 0 invisible, 1 opaque                     |
    | 10     | intensity      | 0 black, 1 white                                               |

    Bad actions are treated as in `NeuralPaint-v0`.

    ## Observation Space

    As in `NeuralPaint-v0`, but canvas and target are `Box(0, 255, (1, H, W), uint8)`.

    ## Rewards

    As in `NeuralPaint-v0`: "l2" by default.

    ## Starting State

    White paper and a target drawn from the source, in gray.

    ## Episode End

    As in `NeuralPaint-v0`: truncated after 400 strokes, terminated at `similarity` if given.

    ## Arguments

    As in `NeuralPaint-v0`, with the defaults `form="gray"` and `background="white"`.

    ## Version History

    - v0: first version.
    """

    preset = MappingProxyType({"form": "gray", "background": "white"})


class NeuralPaintOpaqueEnv(NeuralPaintEnv):
    """Draw with opaque strokes of one colour, as plotters and painting robots do.

    ## Description

    `NeuralPaint-v0` with a pen: every stroke is opaque and has the one colour `colour`, black by
    default, on white paper. What is painted cannot be made brighter again.

    ## Action Space

    `Box(0, 1, (bundle * 8,), float32)`: the strokes of a bundle one after the other.

    | number | field             | meaning                                                     |
    |--------|-------------------|-------------------------------------------------------------|
    | 0 - 5  | x0 y0 x1 y1 x2 y2 | start, middle and end point, as in `NeuralPaint-v0`         |
    | 6, 7   | z0, z1            | thickness at the ends, as in `NeuralPaint-v0`               |

    Bad actions are treated as in `NeuralPaint-v0`.

    ## Observation Space

    As in `NeuralPaint-v0`.

    ## Rewards

    As in `NeuralPaint-v0`: "l2" by default.

    ## Starting State

    White paper and a target drawn from the source, in colour.

    ## Episode End

    As in `NeuralPaint-v0`: truncated after 400 strokes, terminated at `similarity` if given.

    ## Arguments

    As in `NeuralPaint-v0`, with the defaults `form="opaque"` and `background="white"`.

    ## Version History

    - v0: first version.
    """

    preset = MappingProxyType({"form": "opaque", "background": "white"})


class NeuralPaintL2Env(NeuralPaintEnv):
    """The setting of Learning to Paint (Huang et al. 2019), with its L2 reward.

    ## Description

    `NeuralPaint-v0` with 200 strokes on black in 40 steps of 5, rewarded by the share of the first
    distance that a step paints away. Strokes follow our conventions (axes, order, thickness);
    `renderers.stroke` converts those of Learning to Paint.

    ## Action Space

    `Box(0, 1, (bundle * 13,), float32)`, as in `NeuralPaint-v0`.

    ## Observation Space

    As in `NeuralPaint-v0`.

    ## Rewards

    "relative_l2": (L_t - L_{t+1}) / L_0 with L the mean squared distance to the target.

    ## Starting State

    A black canvas and a target drawn from the source.

    ## Episode End

    As in `NeuralPaint-v0`: truncated after 200 strokes, terminated at `similarity` if given.

    ## Arguments

    As in `NeuralPaint-v0`, with the defaults `budget=200` and `reward="relative_l2"`.

    ## Version History

    - v0: first version.
    """

    preset = MappingProxyType({"budget": 200, "reward": "relative_l2"})


class NeuralPaintFacesEnv(NeuralPaintEnv):
    """Paint faces so that they are soon recognised: the thesis's setting for portraits.

    ## Description

    `NeuralPaint-v0` with targets that show a face, masks that show where it is, and the reward of
    thesis chapter 6, which prefers strokes on what is to be recognised. Give a folder of portraits
    as `targets`, such as UTKFace or CelebAMask-HQ.

    ## Action Space

    `Box(0, 1, (bundle * 13,), float32)`, as in `NeuralPaint-v0`.

    ## Observation Space

    As in `NeuralPaint-v0`; `mask` shows where the subject is.

    ## Rewards

    "full": 2 R_m + R_focus (Eq 6.8), with the VGG and the attention module that ship with the
    package. R_m weighs the drop of the clipped absolute distance by the target's VGG features and
    adds the drop of the VGG distance (Eq 6.5); R_focus rewards strokes on the subject (Eq 6.7). The
    networks round in another order for a batch than for one painting, so the rewards of the vector
    environment equal those of single ones up to float32 rounding, not bit for bit. Other rewards
    are those of `NeuralPaint-v0`.

    ## Starting State

    A black canvas and a target with the mask of its subject, drawn from the source: by default
    a procedural face with its exact mask (head, hair and neck).
    Of photos, whose masks come from their data set or are cut out once and kept in a cache on disk,
    those in which no subject is found are left out, counted and named in a warning.

    ## Episode End

    As in `NeuralPaint-v0`: truncated after 400 strokes, terminated at `similarity` if given.

    ## Arguments

    As in `NeuralPaint-v0`, with the defaults `reward="full"`, `targets="procedural-faces"` and
    `subject="face"`.

    ## Version History

    - v0: first version.
    """

    preset = MappingProxyType({"reward": "full"})
    pictures = Pictures("procedural-faces", "face")


class NeuralPaintBirdsEnv(NeuralPaintEnv):
    """Paint birds so that they are soon recognised: the thesis's setting for whole objects.

    ## Description

    `NeuralPaint-v0` with targets that show a bird, masks that show where it is, and the reward of
    thesis chapter 6, which prefers strokes on what is to be recognised. Give a folder of photos as
    `targets`, such as CUB-200-2011; anything with one subject about the middle will do.

    ## Action Space

    `Box(0, 1, (bundle * 13,), float32)`, as in `NeuralPaint-v0`.

    ## Observation Space

    As in `NeuralPaint-v0`; `mask` shows where the subject is.

    ## Rewards

    "full": 2 R_m + R_focus (Eq 6.8), with the VGG and the attention module that ship with the
    package. R_m weighs the drop of the clipped absolute distance by the target's VGG features and
    adds the drop of the VGG distance (Eq 6.5); R_focus rewards strokes on the subject (Eq 6.7). The
    networks round in another order for a batch than for one painting, so the rewards of the vector
    environment equal those of single ones up to float32 rounding, not bit for bit. Other rewards
    are those of `NeuralPaint-v0`.

    ## Starting State

    A black canvas and a target with the mask of its subject, drawn from the source: by default
    a procedural bird on a branch with its exact mask.
    Of photos, whose masks come from their data set or are cut out once and kept in a cache on disk,
    those in which no subject is found are left out, counted and named in a warning.

    ## Episode End

    As in `NeuralPaint-v0`: truncated after 400 strokes, terminated at `similarity` if given.

    ## Arguments

    As in `NeuralPaint-v0`, with the defaults `reward="full"`, `targets="procedural-birds"` and
    `subject="object"`.

    ## Version History

    - v0: first version.
    """

    preset = MappingProxyType({"reward": "full"})
    pictures = Pictures("procedural-birds", "object")
