"""The commands `neuralpaint train age-classifier`, `age-landmarks` and `ldcgan`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .cli_shared import JsonOption
from .cli_zoo_faces_data import PROCEDURAL, begin, card_of, load_faces, ship
from .cli_zoo_train import (
    Device,
    Floats,
    MeasureEvery,
    Minutes,
    Out,
    SaveEvery,
    Seed,
    deadline,
    finish,
    progress,
    row,
    told,
)

Data = Annotated[
    str,
    typer.Option(help="Folder of UTKFace's aligned faces, or 'procedural-faces' for drawn people."),
]
Count = Annotated[int, typer.Option(min=20, help="Faces to draw, where data is procedural-faces.")]
PerPerson = Annotated[
    int, typer.Option(min=1, help="Drawn faces of each person, of other age groups up to ten.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that draw, or find landmarks.")]
Side = Annotated[Literal["64", "128"], typer.Option(help="Side of the faces in pixels.")]


def train_age_classifier(
    out: Out,
    data: Data = PROCEDURAL,
    task: Annotated[
        Literal["groups", "years", "identity"],
        typer.Option(
            help="groups: D_A, the age classifier; identity: Phi, the features that keep who it "
            "is; years: the age regressor, for evaluation only."
        ),
    ] = "groups",
    size: Side = "128",
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 6000,
    batch: Annotated[int, typer.Option(min=2, help="Faces per step, over all processes.")] = 64,
    rate: Annotated[float, typer.Option(help="First learning rate of AdamW.")] = 1e-3,
    width: Annotated[int, typer.Option(min=1, help="Channels of the first layer.")] = 32,
    balanced: Annotated[bool, typer.Option(help="Draw all age groups equally often.")] = True,
    augment: Annotated[
        float, typer.Option(help="How much faces are turned, zoomed and lit otherwise.")
    ] = 1.0,
    noise: Annotated[
        float, typer.Option(help="Most noise in the faces, of 2, so that D_A is not to be fooled.")
    ] = 0.0,
    count: Count = 20_000,
    per_person: PerPerson = 4,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 500,
    as_json: JsonOption = False,
) -> None:
    """Train a network that judges faces; `train ldcgan` takes D_A and Phi.

    The folder of the run holds checkpoints, TensorBoard logs, and age-classifier.safetensors,
    identity.safetensors or age-regressor.safetensors. A run that was stopped or killed goes on with
    the same command. Several processes: torchrun --standalone --nproc_per_node 2 -m neuralpaint
    train age-classifier ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.train import ages as training

    with told(out):
        settings = training.Settings(
            task=task,
            steps=steps,
            batch=batch,
            rate=rate,
            width=width,
            balanced=balanced,
            augment=augment,
            noise=noise,
            size=int(size),
            seed=seed,
            precision=precision,
        )
        place = devices.resolve(device)
        faces = load_faces(
            data,
            int(size),
            count,
            seed,
            workers,
            landmarks=False,
            redraw=True,
            per_person=per_person,
        )
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_judge(
                faces,
                out,
                settings,
                device=place,
                group=group,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
    if group.leads:
        finish(as_json, result, out)


def train_age_landmarks(
    out: Out,
    data: Data = PROCEDURAL,
    size: Side = "128",
    latent: Annotated[int, typer.Option(min=1, help="Dimensions of a face's shape.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Faces per step, over all processes.")] = 64,
    rate: Annotated[float, typer.Option(help="First learning rate of Adam.")] = 1e-3,
    latent_weight: Annotated[
        float, typer.Option(help="Of the latent term of L_lmk; 0: none.")
    ] = 1.0,
    count: Count = 20_000,
    per_person: PerPerson = 4,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 500,
    as_json: JsonOption = False,
) -> None:
    """Train G_L, which predicts the 68 landmarks of a face at another age.

    The folder of the run holds checkpoints, samples.png, TensorBoard logs and
    landmarks.safetensors, which `train ldcgan` takes. A run that was stopped or killed goes on with
    the same command. UTKFace's landmarks are found by dlib, once, and kept in the user's cache.
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.ldcgan import LdcGanConfig
    from .zoo.train import landmarks as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            rate=rate,
            latent=latent_weight,
            seed=seed,
            precision=precision,
        )
        config = LdcGanConfig(size=int(size), latent=latent)
        place = devices.resolve(device)
        faces = load_faces(data, config.size, count, seed, workers, per_person=per_person)
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_landmarks(
                faces,
                config,
                out,
                settings,
                device=place,
                group=group,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
    if group.leads:
        finish(as_json, result, out)


def train_ldcgan(
    out: Out,
    identity: Annotated[
        Path, typer.Option(help="Phi: identity.safetensors of `train age-classifier`.")
    ],
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="D_A: age-classifier.safetensors of `train age-classifier`. [default: that of "
            "--weights]"
        ),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(
            help="G_L: landmarks.safetensors of `train age-landmarks`. [default: that of --weights]"
        ),
    ] = None,
    data: Data = PROCEDURAL,
    weights: Annotated[
        str | None,
        typer.Option(help="Begin with this model: a name, a folder. [default: random weights]"),
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option(help="Begin with this folder 'discriminator' of another run.")
    ] = None,
    size: Annotated[
        Literal["thesis", "small"], typer.Option(help="Widths of the networks.")
    ] = "thesis",
    ni: Annotated[int, typer.Option(help="N_i of G. [default: by size]")] = 0,
    nd: Annotated[int, typer.Option(help="N_d of D. [default: by size]")] = 0,
    blocks: Annotated[int, typer.Option(help="Residual blocks of G. [default: by size]")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Of D and G, one each in turn.")] = 50_000,
    batch: Annotated[int, typer.Option(min=1, help="Faces per step, over all processes.")] = 16,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 2e-4,
    w_adversarial: Annotated[float, typer.Option(help="lambda_1, of L_G.")] = 1.0,
    w_reverse: Annotated[float, typer.Option(help="lambda_2, of L_RG.")] = 1.0,
    w_age: Annotated[float, typer.Option(help="lambda_3, of L_cls.")] = 1.0,
    w_reverse_age: Annotated[float, typer.Option(help="lambda_4, of L_Rcls.")] = 1.0,
    w_identity: Annotated[float, typer.Option(help="lambda_5, of L_id.")] = 1.0,
    w_cycle: Annotated[float, typer.Option(help="lambda_6, of L_cycle.")] = 10.0,
    w_mask: Annotated[float, typer.Option(help="Of the change mask's size.")] = 0.0,
    w_smooth: Annotated[float, typer.Option(help="Of the change mask's roughness.")] = 0.0,
    w_paired: Annotated[
        float, typer.Option(help="Of the same person at the target age, where data has it.")
    ] = 0.0,
    w_outside: Annotated[float, typer.Option(help="Of what changes outside the face's box.")] = 0.0,
    edges: Annotated[
        float, typer.Option(help="Weight in the paired loss of the steps from pixel to pixel.")
    ] = 1.0,
    prototypes: Annotated[
        bool,
        typer.Option(
            help="Where nobody is seen at two ages, pair faces with what the mean faces of the age "
            "groups make of them."
        ),
    ] = False,
    second_cycle: Annotated[bool, typer.Option(help="The second term of Eq 4.13.")] = True,
    conditional: Annotated[bool, typer.Option(help="The age-conditional losses.")] = True,
    unconditional: Annotated[bool, typer.Option(help="The unconditional losses.")] = True,
    adversarial: Annotated[
        Literal["bce", "wgan-gp"], typer.Option(help="Of D: Eq 4.6 as it stands, or WGAN-GP.")
    ] = "bce",
    norm: Annotated[
        Literal["batch", "layer"], typer.Option(help="Of D: batch, as the thesis, or layer.")
    ] = "batch",
    penalty: Annotated[
        float, typer.Option(help="On D's gradient; 10 is usual with wgan-gp, 0: none.")
    ] = 0.0,
    shift: Annotated[
        float, typer.Option(help="Shifts of what D sees, a share of the side; 0: none.")
    ] = 0.0,
    noise: Annotated[
        float, typer.Option(help="Most noise in what D_A sees, as much as it was trained with.")
    ] = 0.0,
    coarse: Annotated[
        int, typer.Option(min=1, help="D_A sees means of squares of so many pixels a side.")
    ] = 1,
    balanced: Annotated[bool, typer.Option(help="Draw all age groups equally often.")] = True,
    count: Count = 20_000,
    per_person: PerPerson = 4,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 1000,
    as_json: JsonOption = False,
) -> None:
    """Train LDcGAN, which ages faces.

    The folder of the run holds checkpoints, samples.png (fixed faces at ten ages), figures.json,
    TensorBoard logs and model/, which `neuralpaint generate ldcgan --weights out/model` loads. A
    run that was stopped or killed goes on with the same command. Several processes: torchrun
    --standalone --nproc_per_node 2 -m neuralpaint train ldcgan ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.face_judges import IdentityFeatures, load_judge
    from .zoo.ldcgan_losses import Weights
    from .zoo.train import ldcgan as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            rate=rate,
            weights=Weights(
                adversarial=w_adversarial,
                reverse=w_reverse,
                age=w_age,
                reverse_age=w_reverse_age,
                identity=w_identity,
                cycle=w_cycle,
                mask=w_mask,
                smooth=w_smooth,
                paired=w_paired,
                outside=w_outside,
            ),
            second_cycle=second_cycle,
            conditional=conditional,
            unconditional=unconditional,
            adversarial=adversarial,
            norm=norm,
            penalty=penalty,
            shift=shift,
            edges=edges,
            prototypes=prototypes,
            noise=noise,
            coarse=coarse,
            balanced=balanced,
            seed=seed,
            precision=precision,
        )
        if discriminator is not None and weights is None:
            raise ValueError("--discriminator needs --weights, the generator that it belongs to")
        phi = load_judge(identity, IdentityFeatures)
        begun = begin(weights, classifier, landmarks, size, ni=ni, nd=nd, blocks=blocks)
        place = devices.resolve(device)
        faces = load_faces(data, begun.config.size, count, seed, workers, per_person=per_person)
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_ldcgan(
                faces,
                begun.classifier,
                phi,
                begun.predictor,
                begun.config,
                out,
                settings,
                device=place,
                group=group,
                weights=begun.generator,
                discriminator=discriminator,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
        if group.leads:
            ship(out, card_of(begun.config, faces, f"{result['steps']} steps of {batch} faces"))
    if group.leads:
        finish(as_json, result, out)
