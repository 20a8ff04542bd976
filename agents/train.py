"""Train a painter: ``neuralpaint train painter --targets photos/ --out runs/mine``.

The run lives in its folder: checkpoints, the best policy on held-out pictures, a sample sheet, a
table of held-out figures and TensorBoard logs. The same command goes on where it stopped.
"""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from ..backend import device as devices
from ..backend.checkpoints import Checkpoint, Checkpoints, read, same_settings
from ..backend.datasets import image_files, split
from ..backend.files import MediaError, read_json, writable_folder, write_json
from ..backend.media import write_image
from ..backend.sheet import sheet
from ..envs import painting, targets
from .ddpg import ModelBasedDDPG
from .learner import UpdateConfig
from .policy import colours, load_policy, save_policy

COUNTS = (50, 100, 200, 400)
SHOWN, MEASURED = 8, 64
BEST = "painter.safetensors"
FIGURES = "held_out.json"
MAX_FIGURES_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A training run.

    Attributes:
        steps: environment steps, each paints one bundle on one canvas.
        env: id of the environment.
        agent: see `agents.policy`.
        size: "small" or "thesis".
        reward: a name of `envs.rewards`; empty takes the agent's own.
        canvas: side of the canvas in pixels.
        paintings: rolled out together.
        batch: states per update.
        updates: after each step of the paintings.
        buffer: states in the replay memory.
        noise: of exploration.
        held_out: pictures that are never trained on, for the figures.
        augment: mirror the pictures and cut random parts out of half of them.
        backgrounds: colours of the empty canvases.
        save_every: updates between checkpoints.
        evaluate_every: updates between held-out figures.
        seed: of everything.
        update: learning rates, reward, model.
    """

    steps: int = 200_000
    env: str = "NeuralPaint-v0"
    agent: str = "proposals"
    size: str = "small"
    reward: str = ""
    canvas: int = 64
    paintings: int = 64
    batch: int = 64
    updates: int = 4
    buffer: int = 8192
    noise: float = 0.5
    held_out: int = 200
    augment: bool = True
    backgrounds: tuple[str, ...] = ("mean", "mean", "black", "white")
    save_every: int = 500
    evaluate_every: int = 500
    seed: int = 0
    update: UpdateConfig = field(default_factory=UpdateConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "held_out", "save_every", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Progress:
    """What the run reports after each step of the paintings.

    Attributes:
        steps: environment steps so far.
        updates: of the networks so far.
        figures: mean PSNR in dB on held-out pictures by number of strokes, as last measured.
    """

    steps: int
    updates: int
    figures: dict[str, float]


Report = Callable[[Progress], None]


def train(
    folders: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    device: str = "auto",
    weights: Path | None = None,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train, or go on training, until all steps are done.

    Args:
        folders: of pictures, found at any depth.
        out: folder of the run.
        settings: see `Settings`.
        device: "auto", "cpu", "cuda", "cuda:1".
        weights: of a painter to begin with, where the run has no checkpoint yet; None begins with
            random ones.
        report: called as it goes.

    Returns:
        {"weights": path of the best policy, "steps", "updates", "held_out": figures, "best": their
        highest mean}.

    Raises:
        ValueError: no readable picture, too few of them, or a run with other settings in `out`
            (names the field).
        FloatingPointError: a loss is not finite; the last checkpoint stands.
        OSError: a checkpoint cannot be written; the last one stands.
    """
    writable_folder(out)
    seen: list[Path] = []
    kept: list[Path] = []
    for folder in folders:
        files = image_files(folder)
        if len(files) <= settings.held_out:
            raise ValueError(
                f"{folder}: {len(files)} pictures are too few to hold {settings.held_out} out; "
                "lower held_out"
            )
        trained, held = split(files, settings.held_out)
        seen += trained
        some = max(1, MEASURED // len(folders))
        kept += held[:: max(1, len(held) // some)][:some]
    agent = ModelBasedDDPG(
        settings.env,
        targets=seen,
        agent=settings.agent,
        size=settings.size,
        reward=settings.reward,
        canvas=settings.canvas,
        n_envs=settings.paintings,
        batch_size=settings.batch,
        gradient_steps=settings.updates,
        buffer_size=settings.buffer,
        noise=settings.noise,
        backgrounds=settings.backgrounds,
        augment=settings.augment,
        seed=settings.seed,
        update=settings.update,
        device=device,
        tensorboard_log=str(out / "tensorboard"),
    )
    if not agent.group.leads:
        agent.tensorboard_log = None
    checkpoints = Checkpoints(out, agent.group.rank)
    saved = _newest(checkpoints, agent)
    if saved is not None:
        agent.restore(saved, out)
    elif weights is not None:
        _begin_with(weights, agent)
    keeper = _Keeper(agent, checkpoints, settings, _held_out(kept, agent), out, report)
    left = settings.steps - agent.num_timesteps
    if left > 0:
        agent.learn(left, callback=keeper, reset_num_timesteps=False, tb_log_name="painter")
        keeper.save()
    keeper.measure()
    agent.group.wait()
    return {
        "weights": str(out / BEST),
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "held_out": keeper.figures,
        "best": keeper.best,
    }


def _begin_with(weights: Path, agent: ModelBasedDDPG) -> None:
    """Take the networks of a painter; it may have been trained for another reward or canvas."""
    policy = load_policy(weights)
    then, now = asdict(policy.config), asdict(agent.policy_config)
    for name in ("agent", "size", "bundle"):
        if then[name] != now[name]:
            raise ValueError(f"{weights}: is of {name}={then[name]!r}, now {now[name]!r}")
    for name, network in agent.learner.networks.items():
        if name in ("policy", "policy_target"):
            network.load_state_dict(policy.state_dict())


def _newest(checkpoints: Checkpoints, agent: ModelBasedDDPG) -> Checkpoint | None:
    """The newest checkpoint that every process has: a kill may fall between their saves."""
    group, saved = agent.group, checkpoints.newest()
    if group.size == 1:
        return saved
    steps = torch.zeros(group.size, dtype=torch.float64, device=agent.device)
    steps[group.rank] = -1 if saved is None else saved.step
    group.average([steps])
    common = round(steps.min().item() * group.size)
    if saved is None or saved.step == common:
        return saved
    same_settings(saved.facts["settings"], agent.settings(), checkpoints.folder)
    older = [path for path in checkpoints.paths() if int(path.stem.rsplit("-", 1)[1]) == common]
    if common >= 0 and not older:
        raise ValueError(f"{checkpoints.folder}: the processes have no checkpoint in common")
    return read(older[0]) if older else None


def _held_out(files: Sequence[Path], agent: ModelBasedDDPG) -> Tensor:
    pictures = []
    for file in files:
        try:
            pictures.append(targets.load(file, agent.painting_env.source.canvas))
        except MediaError as error:
            warnings.warn(f"left out of the held-out pictures: {error}", stacklevel=2)
    if not pictures:
        raise MediaError("none of the held-out pictures is readable")
    return targets.stack(pictures, agent.device)[0]


def as_pictures(images: Tensor) -> list[NDArray[np.float32]]:
    """(B, 1 or 3, H, W) tensors as B arrays (H, W, 3)."""
    return list(colours(images).permute(0, 2, 3, 1).float().cpu().numpy())


class _Keeper(BaseCallback):
    """Checkpoints, held-out figures, best weights and sample sheets along the way."""

    def __init__(
        self,
        agent: ModelBasedDDPG,
        checkpoints: Checkpoints,
        settings: Settings,
        pictures: Tensor,
        out: Path,
        report: Report,
    ) -> None:
        super().__init__()
        self.agent, self.checkpoints, self.settings = agent, checkpoints, settings
        self.pictures, self.out, self.report = pictures, out, report
        self.history: list[dict[str, Any]] = []
        self.figures: dict[str, float] = {}
        if (out / FIGURES).exists():
            rows = read_json(out / FIGURES, max_bytes=MAX_FIGURES_BYTES)
            self.history = [row for row in rows if row["updates"] <= agent._n_updates]
        self.saved, self.measured = agent._n_updates, agent._n_updates

    @property
    def best(self) -> float:
        """Highest mean PSNR over all counts that was reached."""
        return max((float(row["mean"]) for row in self.history), default=-math.inf)

    def _on_rollout_start(self) -> None:
        # Between an update and the next step: a run that goes on begins with a step of its own.
        updates = self.agent._n_updates
        if updates - self.measured >= self.settings.evaluate_every:
            self.measure()
            for n, value in self.figures.items():
                self.logger.record(f"held_out/psnr_{n}", value)
        if updates - self.saved >= self.settings.save_every:
            self.save()

    def _on_step(self) -> bool:
        self.report(Progress(self.agent.num_timesteps, self.agent._n_updates, self.figures))
        return True

    def save(self) -> None:
        """Write a checkpoint."""
        tensors, facts = self.agent.checkpoint()
        self.checkpoints.save(self.agent.num_timesteps, tensors, facts)
        self.saved = self.agent._n_updates

    @torch.no_grad()
    def _paint(self) -> dict[int, painting.State]:
        """The held-out pictures on paper of their mean colour, by the number of strokes."""
        agent, learner, pictures = self.agent, self.agent.learner, self.pictures
        process = replace(
            agent.painting_env.config, background="mean", budget=max(COUNTS), similarity=None
        )
        state = painting.initial(pictures, torch.ones_like(pictures[:, :1]), process)
        painted: dict[int, painting.State] = {}
        for count in range(process.bundle, max(COUNTS) + 1, process.bundle):
            step = painting.observation(state, process)["step"]
            with devices.autocast(agent.device, learner.dtype):
                strokes = learner.policy(state.canvas, state.target, step).strokes
            action = learner.policy.act(strokes, min(process.size))
            state = painting.transition(state, action, process, agent.painting_env.paint)
            if count in COUNTS:
                painted[count] = state
        return painted

    def measure(self) -> None:
        """Paint the held-out pictures; keep the policy if it is the best so far."""
        self.measured = self.agent._n_updates
        if not self.agent.group.leads:
            return
        policy, pictures = self.agent.learner.policy, self.pictures
        policy.eval()
        painted = self._paint()
        self.figures = {
            str(n): float(-10 * state.distance.clamp(min=1e-8).log10().mean())
            for n, state in painted.items()
        }
        mean = sum(self.figures.values()) / len(self.figures)
        row = {"steps": self.agent.num_timesteps, "updates": self.agent._n_updates, "mean": mean}
        if mean > self.best or not (self.out / BEST).exists():
            facts = {"steps": str(row["steps"]), "settings": json.dumps(asdict(self.settings))}
            save_policy(policy, self.out / BEST, facts)
        self.history = [old for old in self.history if old["updates"] < row["updates"]]
        self.history.append({**row, **self.figures})
        write_json(self.out / FIGURES, self.history)
        canvases = [state.canvas for state in painted.values()]
        columns = [as_pictures(shown[:SHOWN]) for shown in (pictures, *canvases)]
        titles = ["target", *(f"{n} strokes, {self.figures[str(n)]:.1f} dB" for n in COUNTS)]
        write_image(self.out / "samples.png", sheet(columns, titles, 128))
