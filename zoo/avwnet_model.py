"""AVWnet for users: a photo and a sound in, a talking video out.

    model = zoo.from_pretrained("avwnet")
    video = model.generate("face.jpg", "speech.wav")
    video.save("talk.mp4")

The networks are in `avwnet`; faces and sounds are read by `talking.inputs` and `talking.sounds`,
and the networks run over sounds of any length by `talking.streaming`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..backend.buckets import Batch
from .arguments import MAX_ITEMS
from .avwnet import AvwnetConfig, AvwnetOutput, Generator, Looked, build, load_avwnet
from .avwnet_parts import SIDE
from .cards import Card
from .face_geometry import POINTS
from .faces import FaceFinder
from .ldcgan_photos import SharedFinder
from .lipreader import LipReader
from .model import Model, Progress
from .talking.inputs import FaceLike, TalkingFace, read_face, several
from .talking.mfcc import frame_count
from .talking.result import Masks, TalkingVideo, provenance
from .talking.sounds import (
    Engine,
    Listener,
    Sound,
    SoundLike,
    blocks,
    name_of,
    read_whole,
    speak,
)
from .talking.streaming import Act, LipReading, Piece, Start, TalkingStream, perform


class AvwNet(Model):
    """Talking faces (chapter 5).

    Args:
        config: of the networks.
        networks: those of `avwnet.build`: "generator", "landmarks" and "reader"; None makes new
            ones with random weights.
        card: see `Card`.
        name: of the weights.
        origin: where the weights come from.
    """

    kind = "avwnet"
    BATCH: ClassVar[Mapping[str, int]] = {"cpu": 1, "cuda": 4}
    """Requests in a call; each is 16 frames."""
    config: AvwnetConfig

    def __init__(
        self,
        config: AvwnetConfig,
        networks: Mapping[str, nn.Module] | None = None,
        card: Card | None = None,
        *,
        name: str = "unnamed",
        origin: str = "this process",
    ) -> None:
        made = dict((networks or build(config)).items())
        super().__init__(config, made, card, name=name, origin=origin)
        self._finder = SharedFinder()

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> tuple[AvwnetConfig, nn.ModuleDict]:
        """See `Model.build`."""
        made = AvwnetConfig.from_json(config)
        return made, build(made)

    @classmethod
    def from_run(cls, file: Path, card: Card | None = None) -> "AvwNet":
        """Read the weights that a training run wrote, `best.safetensors` of `train.avwnet`.

        Args:
            file: of weights, with the configuration in its metadata.
            card: what there is to say about them, for `save_pretrained`.

        Returns:
            The model, on the CPU.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not such a file, or a field or a weight is not right (names it).
        """
        config, networks = load_avwnet(file)
        return cls(config, dict(networks.items()), card, name=file.stem, origin=f"file {file}")

    def generate(
        self,
        face: FaceLike | Sequence[FaceLike],
        sound: SoundLike | Sequence[SoundLike] | None = None,
        *,
        text: str | Sequence[str] | None = None,
        engine: Engine = "auto",
        voice: int = 0,
        face_index: int | None = None,
        landmarks: ArrayLike | None = None,
        read_words: bool = True,
        finder: FaceFinder | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Let a face say something.

        Nothing is drawn at random: the same photo and sound give the same video. The frames and
        masks of ten minutes are 1.05 GB, and the process 1.65 GB; `stream` keeps none of them.

        Args:
            face: photo as path, PIL image or array (see `media.as_image`), a face that is in its
                crop already (see `TalkingFace.placed`), or a list of them.
            sound: file of any common format, or a video with sound; samples at 16 kHz, (N,) or
                (N, channels), floats in [-1, 1] or int16; a pair of samples and their rate; or a
                list of these. At most 10 minutes.
            text: to be spoken, in place of a sound, or a list of texts. One face with several
                sounds, or several faces with one, make a video each.
            engine: who speaks a text: "espeak" (eSpeak NG, of the `audio` extra), "formant" (built
                in), or "auto", the first if it is installed.
            voice: seed of the voice that speaks a text.
            face_index: which face of the photo, from left to right from 0; by default the largest.
            landmarks: (T, 68, 2) pixels of the crop of 128, to follow in place of those predicted
                from the sound; T = ceil(samples / 640), 25 a second. For a single video.
            read_words: have the lip reader read the frames.
            finder: finds faces; see `LdcGan.generate`.
            progress: called with (frames done, all frames).

        Returns:
            A `TalkingVideo`, or a list of them if a list was given.

        Raises:
            TypeError: a face or a sound is of another type.
            ValueError: a sound and a text or neither, lists that do not fit, a photo or sound that
                cannot be read or is too long, without a face (`NoFaceError`), with faces that are
                too small (`SmallFaceError`), or without the face that was chosen.
            ImportError: eSpeak NG is asked for and not installed.
        """
        faces, sounds, single = self._inputs(face, sound, text, engine, voice, face_index, finder)
        lengths = [frame_count(len(said.samples)) for said in sounds]
        if landmarks is not None and not single:
            raise ValueError("landmarks are for a single video: call it for each")
        given = None if landmarks is None else _checked(landmarks, lengths[0])
        starts = self._starts(faces, given)
        acts = [
            Act(start, blocks(said), Listener(said.name), self._reading(read_words))
            for start, said in zip(starts, sounds, strict=True)
        ]
        made = [Piece.room(length, SIDE) for length in lengths]
        done = [0] * len(acts)
        for number, piece in perform(acts, self.run):
            piece.put(made[number], done[number])
            done[number] += len(piece.frames)
            if progress is not None:
                progress(sum(done), sum(lengths))
        videos = []
        for act, whole, said in zip(acts, made, sounds, strict=True):
            reading, one = act.reading, act.start.face
            videos.append(
                TalkingVideo(
                    frames=whole.frames,
                    landmarks=whole.landmarks,
                    masks=Masks(whole.coarse_mask, whole.fine_mask),
                    samples=said.samples,
                    face=one,
                    words=() if reading is None else reading.words,
                    notes=(*one.notes, *said.notes),
                    texts=provenance(self.title, one.name, said.origin),
                )
            )
        return videos[0] if single else videos

    def stream(
        self,
        face: FaceLike,
        sound: SoundLike | None = None,
        *,
        text: str | None = None,
        engine: Engine = "auto",
        voice: int = 0,
        face_index: int | None = None,
        read_words: bool = True,
        finder: FaceFinder | None = None,
    ) -> TalkingStream:
        """Let a face say something, frame by frame: of any length, in constant memory.

        A frame comes as soon as the sound of its chunk of 16 frames and 135 ms more are there. The
        frames are those of `generate`.

        Args:
            face: see `generate`; one.
            sound: see `generate`, of any length; or an iterable of blocks of samples at 16 kHz, as
                from a microphone.
            text: to be spoken, in place of a sound.
            engine: see `generate`.
            voice: see `generate`.
            face_index: see `generate`.
            read_words: have the lip reader read the frames.
            finder: finds faces; see `LdcGan.generate`.

        Returns:
            An iterator of frames; see `TalkingStream`. It raises what reading the sound raises.

        Raises:
            TypeError: a face or a sound is of another type.
            ValueError: see `generate`.
            ImportError: see `generate`.
        """
        if (sound is None) == (text is None):
            raise ValueError("give a sound or a text to be spoken")
        said = speak(text, engine, voice) if text is not None else sound
        assert said is not None
        name, source = name_of(said), blocks(said)
        read = read_face(face, SIDE, finder or self._finder, face_index)
        origin, notes = {"Sound": name}, read.notes
        if isinstance(said, Sound):
            origin, notes = said.origin, (*notes, *said.notes)
        (start,) = self._starts([read])
        act = Act(start, source, Listener(name), self._reading(read_words))
        return TalkingStream(act, self.run, notes, provenance(self.title, read.name, origin))

    def forward(self, batch: Batch) -> Batch:
        """What the networks make of faces, chunks of sound, or frames of lips.

        Args:
            batch: "image" (n, 3, 128, 128) in [-1, 1], to look at;
                or "lips" (n, 16, 128, 128, 3) uint8, to read;
                or "windows" (n, T, 28, 12) with "example_landmarks" (n, 136), "look.*" and "state",
                and "landmark_state" or the landmarks to follow, "given" (n, T, 136).

        Returns:
            The tensors "look.*" of `Looked`;
            or "scores" (n, V), mean log probabilities of the words;
            or "frames" (n, T, 128, 128, 3), "coarse" (n, T, 64, 64) and "fine" (n, T, 128, 128)
            uint8, "landmarks" (n, T, 136), and both states.
        """
        if "image" in batch:
            looked = cast(Generator, self.networks["generator"]).look(batch["image"])
            return {f"look.{name}": part.float() for name, part in looked._asdict().items()}
        if "lips" in batch:
            frames = (batch["lips"].float() / 127.5 - 1).permute(0, 1, 4, 2, 3)
            read = cast(LipReader, self.networks["reader"]).read(frames)
            return {"scores": read.mean(1)}
        own, windows = batch["example_landmarks"], batch["windows"]
        states: Batch = {}
        if "given" in batch:
            landmarks = batch["given"]
        else:
            before = batch["landmark_state"].permute(1, 2, 0, 3)  # (2, layers, n, hidden)
            landmarks, after = self.networks["landmarks"](windows, own, before)
            states["landmark_state"] = after.permute(2, 0, 1, 3).float().contiguous()
        looked = Looked(**{name: batch[f"look.{name}"] for name in Looked._fields})
        made: AvwnetOutput = self.networks["generator"](
            looked, windows, landmarks, own, batch["state"]
        )
        return {
            "frames": _bytes(made.fine / 2 + 0.5).permute(0, 1, 3, 4, 2).contiguous(),
            "coarse": _bytes(made.coarse_mask[:, :, 0]),
            "fine": _bytes(made.fine_mask[:, :, 0]),
            "landmarks": landmarks.float(),
            "state": made.state.float(),
            **states,
        }

    def _inputs(
        self,
        face: object,
        sound: object,
        text: object,
        engine: Engine,
        voice: int,
        face_index: int | None,
        finder: FaceFinder | None,
    ) -> tuple[list[TalkingFace], list[Sound], bool]:
        """Faces, as many sounds, and whether it is a single video."""
        if (sound is None) == (text is None):
            raise ValueError("give a sound or a text to be spoken")
        photos = several(face, "face")
        says = several(sound, "sound") if text is None else several(text, "text")
        single = photos is None and says is None
        photos, says = photos or [face], says or [sound if text is None else text]
        count = max(len(photos), len(says))
        if count > MAX_ITEMS:
            raise ValueError(
                f"{count} videos in one call, at most {MAX_ITEMS}: call it several times"
            )
        if {len(photos), len(says)} - {1, count}:
            raise ValueError(
                f"{len(photos)} faces and {len(says)} sounds: give as many of both, or one"
            )

        def name(what: str, number: int, total: int) -> str:
            return f"the {what}" if total == 1 else f"{what} {number + 1}"

        faces = [
            read_face(
                photo,
                SIDE,
                finder or self._finder,
                face_index,
                name=name("photo", number, len(photos)),
            )
            for number, photo in enumerate(photos)
        ]
        sounds = [
            speak(said, engine, voice)
            if text is not None
            else read_whole(said, name=name("sound", number, len(says)))
            for number, said in enumerate(says)
        ]
        return faces * (count // len(faces)), sounds * (count // len(sounds)), single

    def _starts(
        self, faces: Sequence[TalkingFace], landmarks: NDArray[np.float32] | None = None
    ) -> list[Start]:
        images = [torch.tensor(face.image).permute(2, 0, 1) / 127.5 - 1 for face in faces]
        looked = self.run([{"image": image} for image in images])
        ni, predictor = self.config.ni, self.config.landmarks
        starts = []
        for face, look in zip(faces, looked, strict=True):
            own = torch.from_numpy(face.landmarks / SIDE).float().flatten()
            state = {"state": torch.zeros(4 * ni, 8, 8)}
            if landmarks is None:
                state["landmark_state"] = torch.zeros(2, predictor.layers, predictor.hidden)
            starts.append(Start(face, {**look, "example_landmarks": own}, state, landmarks))
        return starts

    def _reading(self, wanted: bool) -> LipReading | None:
        return LipReading(self.config.reader.words) if wanted else None


def _checked(landmarks: ArrayLike, frames: int) -> NDArray[np.float32]:
    points = np.asarray(landmarks, np.float32)
    if points.shape != (frames, POINTS, 2) or not np.isfinite(points).all():
        raise ValueError(
            f"landmarks {points.shape}: expected finite ({frames}, {POINTS}, 2), in pixels, for "
            f"the {frames} frames of this sound"
        )
    return points


def _bytes(values: Tensor) -> Tensor:
    """Of [0, 1] to uint8."""
    return (values.float().clamp(0, 1) * 255).round().to(torch.uint8)
