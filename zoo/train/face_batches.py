"""Batches of faces, and what the trainings of chapter 4 share: draws by age group, pairs, views."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...backend.distributed import Group
from ..ages import COUNT, GROUPS, groups_of
from ..data.faces import Faces
from ..ldcgan_parts import mirrored


class FaceBatches:
    """Faces, ages and landmarks on a device.

    Args:
        data: what to draw from.
        size: S, side of the faces.
        device: where they are kept.
        landmarks: leave out faces whose landmarks are not known.

    Raises:
        ValueError: the faces are of another size, or none has landmarks.
    """

    def __init__(
        self, data: Faces, size: int, device: torch.device, landmarks: bool = False
    ) -> None:
        if data.size != size:
            raise ValueError(
                f"{data.name}: faces of {data.size} pixels, the networks have {size}; "
                f"load them at {size}"
            )
        rows = torch.arange(len(data))
        if landmarks:
            rows = rows[data.has_landmarks]
            if not len(rows):
                raise ValueError(f"{data.name}: no face has landmarks; load it with landmarks")
        whole = len(rows) == len(data)
        self.name, self.checksum, self.device = data.name, data.checksum, device
        self.stored = (data.images if whole else data.images[rows]).to(device)
        self.points = data.landmarks[rows].to(device)
        ages = data.ages[rows]
        self.ages, self.groups = ages.to(device), groups_of(ages).to(device)
        self._by_group = _Lists(groups_of(ages), COUNT)
        identity = data.identity[rows]
        self.known = identity >= 0
        # Someone unknown is a person of their own.
        alone = -1 - torch.arange(len(rows))
        people = torch.where(self.known, identity, alone).unique(return_inverse=True)[1]
        self.people = people
        self._by_person = _Lists(people, int(people.max()) + 1)
        self._at = torch.full((int(people.max()) + 1, COUNT), -1)
        places = torch.arange(len(rows)).flip(0)  # the first face of a person and group is kept
        self._at[people[places], groups_of(ages)[places]] = places
        self.paired = bool(((self._at >= 0).sum(1) > 1).any())

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def present(self) -> Tensor:
        """Groups that have a face, (G,) int64, on the CPU."""
        return (self._by_group.counts > 0).nonzero().flatten()

    # --- draws, on the CPU -----------------------------------------------------------------------

    def draw(self, count: int, generator: torch.Generator, balanced: bool) -> Tensor:
        """Random faces.

        Args:
            count: how many.
            generator: on the CPU.
            balanced: each age group equally often; else each face.

        Returns:
            (count,) int64, on the CPU.
        """
        if balanced:
            return self.of_groups(self.draw_groups(count, generator), generator)
        return torch.randint(len(self), (count,), generator=generator)

    def draw_groups(self, count: int, generator: torch.Generator) -> Tensor:
        """Random groups among those that have a face, (count,) int64, on the CPU."""
        present = self.present
        return present[torch.randint(len(present), (count,), generator=generator)]

    def of_groups(self, groups: Tensor, generator: torch.Generator) -> Tensor:
        """A random face of each of these groups, (n,) int64, on the CPU; none may be empty."""
        return self._by_group.draw(groups, generator)

    def companions(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """A random face of the same person as each, often that face itself, (n,) on the CPU."""
        return self._by_person.draw(self.people[index], generator)

    def same_person(self, index: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """The same people at other ages.

        Args:
            index: (n,) faces, on the CPU.
            groups: (n,) age groups, on the CPU.

        Returns:
            (n,) int64 faces, the same face where there is none of that age, and (n,) bool, whether
            there is; both on the CPU.
        """
        found = self._at[self.people[index], groups]
        return torch.where(found >= 0, found, index), found >= 0

    # --- on the device ---------------------------------------------------------------------------

    def images(self, index: Tensor, mirror: Tensor | None = None) -> Tensor:
        """Faces (n, 3, S, S) float32 in [-1, 1].

        Args:
            index: (n,) int64, on any device.
            mirror: (n,) bool, which to mirror; None mirrors none.

        Returns:
            The faces.
        """
        images = self.stored[index.to(self.device)]
        if mirror is not None:
            images = torch.where(
                mirror.to(self.device)[:, None, None, None], images.flip(3), images
            )
        return images / 127.5 - 1

    def landmarks(self, index: Tensor, mirror: Tensor | None = None) -> Tensor:
        """Landmarks (n, 136) float32 of the same faces, mirrored as they are."""
        points = self.points[index.to(self.device)]
        if mirror is None:
            return points
        return torch.where(mirror.to(self.device)[:, None], mirrored(points), points)


class _Lists:
    """Faces by a number that each has."""

    def __init__(self, numbers: Tensor, count: int) -> None:
        self.order = numbers.argsort(stable=True)
        self.counts = torch.bincount(numbers, minlength=count)
        self.first = self.counts.cumsum(0) - self.counts

    def draw(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        part = torch.rand(len(numbers), generator=generator, dtype=torch.float64)
        return self.order[self.first[numbers] + (part * self.counts[numbers]).long()]


def augmented(images: Tensor, draws: Tensor, strength: float = 1.0) -> Tensor:
    """Faces seen a little differently: turned, zoomed, moved, mirrored, in other light.

    Args:
        images: (n, 3, S, S) in [-1, 1].
        draws: (n, 9) in [0, 1).
        strength: 1 turns by up to 10 degrees, zooms by 10 %, moves by 5 % of the side and changes
            brightness and contrast by 20 %; 0 only mirrors.

    Returns:
        (n, 3, S, S) in [-1, 1], edges repeated outwards.
    """
    draws = draws.to(images.device)
    spread = strength * (2 * draws - 1)
    angle = spread[:, 0] * (10 * torch.pi / 180)
    zoom = 1 + 0.1 * spread[:, 1]
    side = torch.where(draws[:, 4] < 0.5, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [side * cos, -sin, 0.1 * spread[:, 2], side * sin, cos, 0.1 * spread[:, 3]]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False
    )
    seen = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain = 1 + 0.2 * spread[:, 8]
    colour = 0.2 * strength * (draws[:, 5:8] - 0.5)  # brightness of each channel
    return (seen * gain[:, None, None, None] + colour[:, :, None, None]).clamp(-1, 1)


AUGMENT_DRAWS = 9


def noisy(images: Tensor, draws: Tensor, most: float) -> Tensor:
    """Faces under Gaussian noise, each under as much as its draw says.

    A classifier that is trained on such faces cannot be pleased by faint patterns, and its
    gradients follow what one sees of a class (Kaur et al. 2019).

    Args:
        images: (n, 3, S, S) in [-1, 1].
        draws: (n, 2) float64 in [0, 1), on the CPU: how much, and which noise.
        most: largest standard deviation; 0 leaves the faces as they are.

    Returns:
        (n, 3, S, S), beyond [-1, 1] where the noise leads.
    """
    if not most:
        return images
    maker, noise = torch.Generator(images.device), torch.empty_like(images)
    for row, (much, which) in zip(noise, draws.tolist(), strict=True):
        maker.manual_seed(int(which * 2**53))
        row.normal_(0, most * much, generator=maker)
    return images + noise


def share(batch: int, group: Group) -> slice:
    """This process's rows of a batch.

    Args:
        batch: rows of all processes.
        group: the processes.

    Returns:
        Where they are.

    Raises:
        ValueError: they cannot be shared equally.
    """
    if batch % group.size:
        raise ValueError(f"a batch of {batch} cannot be shared by {group.size} processes")
    part = batch // group.size
    return slice(group.rank * part, (group.rank + 1) * part)


def early(decay: float, step: int) -> float:
    """The decay of a moving average at a step: smaller at first, so that it forgets the start."""
    return min(decay, (1 + step) / (10 + step))


def two_groups(pictures: FaceBatches) -> None:
    """Raise ValueError unless there are faces of two age groups or more."""
    present = pictures.present.tolist()
    if len(present) < 2:
        raise ValueError(
            f"{pictures.name}: all faces to train on are {GROUPS[present[0]]} years old; "
            "ageing needs two age groups or more"
        )


def digest(network: nn.Module) -> str:
    """Tells one network's weights from another's: 16 hex digits."""
    found = hashlib.sha256()
    for name, weight in network.state_dict().items():
        found.update(name.encode())
        found.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def arrays(images: Tensor) -> NDArray[np.float32]:
    """(n, 3, S, S) in [-1, 1] as (n, S, S, 3) in [0, 1]."""
    values: NDArray[np.float32] = (images / 2 + 0.5).permute(0, 2, 3, 1).float().cpu().numpy()
    return values.clip(0, 1)
