"""The zoo of conditional GANs: one call from text to image.

from neuralpaint import zoo

zoo.list_models()
model = zoo.from_pretrained("hfgan")
result = model.generate("a small bird with a yellow breast", num_images=4, seed=0)
result[0].save("bird.png")
"""

from .hub import from_pretrained
from .registry import list_models

__all__ = ["from_pretrained", "list_models"]
