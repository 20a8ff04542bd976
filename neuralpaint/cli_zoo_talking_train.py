"""The commands `neuralpaint train lipreader`, `talking-landmarks` and `avwnet`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .cli_shared import JsonOption
from .cli_zoo_talking_data import PROCEDURAL, begin, card_of, load_clips, ship
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
    typer.Option(
        help="Folder of GRID or LRW in its official layout, or 'procedural-talking' for drawn "
        "people."
    ),
]
Also = Annotated[
    str | None,
    typer.Option(
        help="More to train on, as --data, or a folder of photos, --count of which are moved as "
        "the people of --data are. Nothing of it is held out, and its words are not read."
    ),
]
Count = Annotated[int, typer.Option(min=2, help="Clips to draw, where data is procedural-talking.")]
PerPerson = Annotated[int, typer.Option(min=1, help="Drawn clips of each person.")]
Engine = Annotated[
    Literal["formant", "espeak"], typer.Option(help="Speaks for drawn people, see the extra audio.")
]
Cache = Annotated[
    Path | None, typer.Option(help="Keeps decoded clips. [default: in the user's cache]")
]
Limit = Annotated[int, typer.Option(min=0, help="Clips of a folder, at most; 0: all.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that draw, or decode and find landmarks.")
]
Size = Annotated[Literal["thesis", "small"], typer.Option(help="Widths of the networks.")]


def train_lipreader(
    out: Out,
    data: Data = PROCEDURAL,
    size: Size = "small",
    width: Annotated[int, typer.Option(help="Channels of the first stage. [default: by size]")] = 0,
    hidden: Annotated[int, typer.Option(help="Units of the LSTM. [default: by size]")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 6000,
    batch: Annotated[int, typer.Option(min=1, help="Words per step, over all processes.")] = 16,
    rate: Annotated[float, typer.Option(help="First learning rate of AdamW.")] = 1e-3,
    balanced: Annotated[bool, typer.Option(help="Draw all words equally often.")] = True,
    augment: Annotated[
        float, typer.Option(help="How much frames are turned, zoomed, moved and lit otherwise.")
    ] = 1.0,
    late: Annotated[
        int, typer.Option(min=0, help="Frames by which a word is off the middle, at most.")
    ] = 1,
    count: Count = 400,
    per_person: PerPerson = 2,
    engine: Engine = "formant",
    cache: Cache = None,
    limit: Limit = 0,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 500,
    as_json: JsonOption = False,
) -> None:
    """Train a lip reader, which reads words from frames; `train avwnet` takes it.

    The folder of the run holds checkpoints, samples.png, TensorBoard logs and
    lipreader.safetensors. A run that was stopped or killed goes on with the same command. A reader
    for evaluation is one more run, with another seed. Several processes: torchrun --standalone
    --nproc_per_node 2 -m neuralpaint train lipreader ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.lipreader import LipReaderConfig
    from .zoo.train import lipreader as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            rate=rate,
            balanced=balanced,
            augment=augment,
            late=late,
            seed=seed,
            precision=precision,
        )
        place = devices.resolve(device)
        clips = load_clips(
            data,
            count,
            seed,
            workers,
            engine=engine,
            per_person=per_person,
            cache=cache,
            limit=limit or None,
        )
        given = {name: n for name, n in (("width", width), ("hidden", hidden)) if n}
        config = LipReaderConfig.of(size, clips.vocabulary, **given)
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_lipreader(
                clips,
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


def train_talking_landmarks(
    out: Out,
    data: Data = PROCEDURAL,
    also: Also = None,
    components: Annotated[
        int, typer.Option(min=1, help="Principal components of how faces move.")
    ] = 20,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Of the LSTM.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, help="Windows per step, all processes.")] = 32,
    frames: Annotated[int, typer.Option(min=2, help="Consecutive frames of a window.")] = 50,
    rate: Annotated[float, typer.Option(help="First learning rate of Adam.")] = 1e-3,
    mouth: Annotated[float, typer.Option(help="Weight of the points of the mouth.")] = 4.0,
    motion: Annotated[
        float, typer.Option(help="Weight of what changes from frame to frame; 0: none.")
    ] = 1.0,
    noise: Annotated[
        float, typer.Option(help="Of the sound, a share of its spread; 0: none.")
    ] = 0.1,
    count: Count = 400,
    per_person: PerPerson = 2,
    engine: Engine = "formant",
    cache: Cache = None,
    limit: Limit = 0,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "fp32",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 500,
    as_json: JsonOption = False,
) -> None:
    """Train the predictor of landmarks from sound; `train avwnet` takes it.

    The folder of the run holds checkpoints, samples.png, TensorBoard logs and
    talking-landmarks.safetensors. A run that was stopped or killed goes on with the same command.
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.talking_landmarks import TalkingLandmarksConfig
    from .zoo.train import talking_landmarks as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            frames=frames,
            rate=rate,
            mouth=mouth,
            motion=motion,
            noise=noise,
            seed=seed,
            precision=precision,
        )
        config = TalkingLandmarksConfig(components=components, hidden=hidden, layers=layers)
        place = devices.resolve(device)
        clips = load_clips(
            data,
            count,
            seed,
            workers,
            engine=engine,
            per_person=per_person,
            cache=cache,
            limit=limit or None,
            also=also,
        )
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_talking_landmarks(
                clips,
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


def train_avwnet(
    out: Out,
    reader: Annotated[
        Path | None,
        typer.Option(
            help="lipreader.safetensors of `train lipreader`. [default: that of --weights]"
        ),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(
            help="talking-landmarks.safetensors of `train talking-landmarks`. [default: that of "
            "--weights]"
        ),
    ] = None,
    data: Data = PROCEDURAL,
    also: Also = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Begin with this model: a name, a folder. [default: random weights]"),
    ] = None,
    discriminators: Annotated[
        Path | None, typer.Option(help="Begin with this folder 'discriminators' of another run.")
    ] = None,
    size: Size = "thesis",
    ni: Annotated[int, typer.Option(help="N_i of G. [default: by size]")] = 0,
    nd: Annotated[int, typer.Option(help="N_d of D. [default: by size]")] = 0,
    audio: Annotated[
        int, typer.Option(help="Channels of the audio encoders. [default: by size]")
    ] = 0,
    residual: Annotated[
        bool | None,
        typer.Option(help="Colours are added to the example's. [default: by size]"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of D and G, one each in turn.")] = 50_000,
    batch: Annotated[int, typer.Option(min=1, help="Clips per step, over all processes.")] = 4,
    frames: Annotated[int, typer.Option(min=2, help="Consecutive frames of each.")] = 16,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 2e-4,
    decay: Annotated[float, typer.Option(help="Of the moving average of G.")] = 0.999,
    w_adversarial: Annotated[
        float, typer.Option(help="Of the unconditional halves of Eq 5.8 and 5.10.")
    ] = 1.0,
    w_match: Annotated[float, typer.Option(help="Of their conditional halves.")] = 1.0,
    w_regression: Annotated[float, typer.Option(help="lambda, of L_R, Eq 5.9.")] = 1.0,
    w_pixel: Annotated[float, typer.Option(help="beta, of L_pix, Eq 5.12.")] = 100.0,
    w_word: Annotated[float, typer.Option(help="Of L_w, Eq 5.12.")] = 1.0,
    w_colour: Annotated[float, typer.Option(help="Of L_pix of the colours alone.")] = 10.0,
    w_mask: Annotated[float, typer.Option(help="Of the masks' size.")] = 0.0,
    w_smooth: Annotated[float, typer.Option(help="Of the masks' roughness.")] = 0.0,
    stages: Annotated[
        Literal["both", "coarse", "fine"], typer.Option(help="That have losses of their own.")
    ] = "both",
    centred: Annotated[float, typer.Option(help="Share of clips centred on a word.")] = 0.5,
    predicted: Annotated[
        float, typer.Option(help="Share of clips with landmarks predicted from the sound.")
    ] = 0.0,
    judged: Annotated[
        int, typer.Option(min=0, help="Frames of each clip that D sees; 0: all.")
    ] = 0,
    apart: Annotated[
        int, typer.Option(min=0, help="Frames between a frame and sound that does not match it.")
    ] = 7,
    mirror: Annotated[bool, typer.Option(help="Mirror half of the clips.")] = True,
    tint: Annotated[
        float, typer.Option(help="How much the colours of clips are changed; 0: not.")
    ] = 0.0,
    best: Annotated[
        Literal["psnr_mouth", "psnr", "l1_mouth", "l1", "words"],
        typer.Option(help="Held-out figure by which weights are kept."),
    ] = "psnr_mouth",
    count: Count = 400,
    per_person: PerPerson = 2,
    engine: Engine = "formant",
    cache: Cache = None,
    limit: Limit = 0,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 1000,
    as_json: JsonOption = False,
) -> None:
    """Train AVWnet, which makes a face speak.

    The folder of the run holds checkpoints, samples.png (real, coarse and fine frames, masks),
    sample.mp4 with sound, figures.json, TensorBoard logs and model/, which `neuralpaint generate
    avwnet --weights out/model` loads. A run that was stopped or killed goes on with the same
    command. Several processes: torchrun --standalone --nproc_per_node 2 -m neuralpaint train avwnet
    ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.avwnet_losses import Weights
    from .zoo.train import avwnet as training
    from .zoo.train.avwnet_settings import STAGES

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            frames=frames,
            rate=rate,
            decay=decay,
            weights=Weights(
                adversarial=w_adversarial,
                match=w_match,
                regression=w_regression,
                pixel=w_pixel,
                word=w_word,
                colour=w_colour,
                mask=w_mask,
                smooth=w_smooth,
            ),
            stages=STAGES if stages == "both" else (stages,),
            centred=centred,
            predicted=predicted,
            judged=judged,
            apart=apart,
            mirror=mirror,
            tint=tint,
            best=best,
            seed=seed,
            precision=precision,
        )
        if discriminators is not None and weights is None:
            raise ValueError("--discriminators needs --weights, the generator that they belong to")
        begun = begin(
            weights, reader, landmarks, size, ni=ni, nd=nd, audio=audio, residual=residual
        )
        place = devices.resolve(device)
        clips = load_clips(
            data,
            count,
            seed,
            workers,
            engine=engine,
            per_person=per_person,
            cache=cache,
            limit=limit or None,
            also=also,
        )
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_avwnet(
                clips,
                begun.reader,
                begun.predictor,
                begun.config,
                out,
                settings,
                device=place,
                group=group,
                weights=begun.generator,
                discriminators=discriminators,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
        if group.leads:
            ship(out, card_of(begun.config, clips, f"{result['steps']} steps of {batch} clips"))
    if group.leads:
        finish(as_json, result, out)
