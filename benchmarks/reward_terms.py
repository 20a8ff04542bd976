"""How large the terms of the full reward are, and where the feature masks look (Sec 6.3.3.2).

Prints the means of the masks of layers 2 and 17 on subject and background, and the mean of each
term along paintings of the shipped agent, on held-out pictures at 64 x 64.

    python benchmarks/reward_terms.py UTKFace/ --subject face
"""

import argparse
from pathlib import Path
from typing import get_args

import torch

from measure import show
from neuralpaint.agents.attention import load_attention
from neuralpaint.agents.policy import load_policy
from neuralpaint.backend.datasets import image_files, split
from neuralpaint.envs import painting, rewards, targets
from neuralpaint.envs.feature_rewards import Reading
from neuralpaint.envs.features import feature_mask, load_vgg
from neuralpaint.renderers import get

STEPS = (1, 2, 4, 8, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--subject", choices=("face", "object"), default="object")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--attention", type=Path, help="weights; the shipped ones by default")
    options = parser.parse_args()
    held = split(image_files(options.pictures), 200)[1][: options.count]
    source = targets.open_source(held, targets.Canvas(3, 64, 64), options.subject)
    drawn = []
    for i in range(len(held)):
        try:
            drawn.append(source.pick(i))
        except targets.NoSubjectError:
            continue
    image, mask = targets.stack(drawn, torch.device("cpu"))
    vgg, paint = load_vgg(), get("bezier")
    for layer in (2, 17):
        weights = feature_mask(vgg, image, layer)
        for name, part in (("subject", mask), ("background", 1 - mask)):
            show(f"mask_{layer}_{name}", ((weights * part).sum() / part.sum()).item(), "")
    show("subject_share", mask.mean().item(), "of the picture")
    terms: dict[str, rewards.Reward] = {
        "l1": rewards.find("l1"),
        "masked_pixels": rewards.Masked(vgg, features=False),
        "vgg": rewards.Vgg(vgg),
    }
    for name, module in (("focus", load_attention(options.attention)), ("focus_oracle", None)):
        for reading in get_args(Reading):
            terms[f"{name}_{reading}"] = rewards.Focus(vgg, module, paint, reading=reading)
    policy = load_policy()
    process = painting.Config(canvas=64, background="mean")
    state = painting.initial(image, mask, process)
    for step in range(1, max(STEPS) + 1):
        left = painting.observation(state, process)["step"]
        with torch.no_grad():
            action = policy.act(policy(state.canvas, image, left).strokes, 64)
            after = painting.transition(state, action, process, paint)
            for name, term in terms.items():
                if step in STEPS:
                    show(f"{name}_step_{step}", term(state, after).mean().item(), "")
        state = after


if __name__ == "__main__":
    main()
