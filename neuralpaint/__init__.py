"""Paint real photos with Bézier strokes.

Importing the package registers its Gymnasium environments; `neuralpaint.envs` lists them.
"""

from . import envs

__version__ = "0.1.0"

__all__ = ["__version__", "envs"]
