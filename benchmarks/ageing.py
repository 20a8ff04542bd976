"""LDcGAN: seconds a face on one CPU thread, by the size of the networks, without detection.

Weights do not change the speed, so random ones take their place. The face is a drawn one.
"""

import time

import torch

from measure import show
from neuralpaint.zoo.ldcgan import LdcGanConfig
from neuralpaint.zoo.ldcgan_model import LdcGan
from neuralpaint.zoo.procedural_faces import make_faces

TURNS = 5


def main() -> None:
    torch.set_num_threads(1)
    faces = make_faces(10, 128, per_person=1)
    requests = [
        {"image": image / 127.5 - 1, "landmarks": points, "group": torch.tensor(group)}
        for group, (image, points) in enumerate(zip(faces.images, faces.landmarks, strict=True))
    ]
    for size in ("small", "thesis"):
        torch.manual_seed(0)
        model = LdcGan(LdcGanConfig.of(size), name=f"random-{size}")
        taken = []
        for _ in range(TURNS):
            start = time.perf_counter()
            model.run(requests)
            taken.append((time.perf_counter() - start) / len(requests))
        show(f"ldcgan_{size}_one_thread_seconds_per_face", min(taken), "s")


if __name__ == "__main__":
    main()
