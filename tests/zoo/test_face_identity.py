"""Verification by distances, by hand; dlib's embedding where it is installed."""

import numpy as np
import pytest
import torch
from skimage import data

from neuralpaint.zoo import faces
from neuralpaint.zoo.face_geometry import align
from neuralpaint.zoo.face_identity import DlibEmbedding, impostor_distances, threshold, verify

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


def test_distances_of_different_people_by_hand() -> None:
    assert impostor_distances(LINE).tolist() == [1, 2, 3, 4, 6, 7]
    known = torch.tensor([5, 5, -1, -1])
    assert impostor_distances(LINE, known).tolist() == [2, 3, 4, 6, 7]
    with pytest.raises(ValueError, match="no pair of different people"):
        impostor_distances(LINE[:2], torch.tensor([3, 3]))


def test_the_threshold_lets_no_more_through_than_it_may() -> None:
    impostors = torch.arange(1, 2001) / 1000
    for share, accepted in ((1e-3, 2), (1e-2, 20), (0.0512, 102)):
        assert int((impostors < threshold(impostors, share)).sum()) == accepted
    tied = torch.ones(5000)
    assert int((tied < threshold(tied)).sum()) == 0
    with pytest.raises(ValueError, match=r"999 pairs.*at least 1000 are needed, 46 faces"):
        threshold(impostors[:999])
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(impostors, 1.0)
    assert len(impostor_distances(torch.randn(46, 2))) >= 1000
    assert len(impostor_distances(torch.randn(45, 2))) < 1000


def test_verification_by_hand() -> None:
    impostors = torch.linspace(1, 2, 1000)
    first = torch.zeros(4, 2)
    second = torch.tensor([[0.5, 0], [0, 0.9], [1.5, 0], [0, 3.0]])
    found = verify(first, second, impostors)
    assert found.rate == 0.5
    assert found.threshold == pytest.approx(1 + 1 / 999)
    assert found.confidence == pytest.approx((100 + 100 + 50 + 0) / 4, abs=0.1)
    assert found.distance == pytest.approx(5.9 / 4)
    with pytest.raises(ValueError, match="pair"):
        verify(first, second[:3], impostors)


def test_different_people_get_what_chance_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(200, 8, generator=generator)
    impostors = impostor_distances(people)
    same = verify(people, people + 0.01, impostors)
    wrong = verify(people, people.roll(1, 0), impostors)
    assert same.rate == 1
    assert same.confidence > 99.9
    assert wrong.rate < 0.02
    assert wrong.confidence == pytest.approx(50, abs=5)
    every = impostors[:, None]
    assert verify(every, 0 * every, impostors).confidence == pytest.approx(50)


def test_dlibs_embedding() -> None:
    dlib = pytest.importorskip("dlib", reason="needs the faces extra: dlib is not installed")
    if not faces.has_dlib():
        pytest.skip("needs the faces extra: face_recognition_models is not installed")
    photo = np.ascontiguousarray(data.astronaut())
    (face,) = faces.find_faces(photo, faces.DlibFinder())
    crop, _ = align(photo, face.landmarks)
    pictures = np.stack([crop, crop[:, ::-1], crop // 2 + 50, data.coffee()[:128, :128]])
    embed = DlibEmbedding()
    found = embed(torch.from_numpy(pictures).permute(0, 3, 1, 2), batch=3)
    apart = (found - found[0]).norm(dim=1)
    assert found.shape == (4, 128)
    assert 0 == apart[0] < apart[1] < 0.4
    assert apart[2] < 0.4
    assert apart[3] > 0.6
    # The same network with dlib's own alignment in the photo.
    points = dlib.points()
    points.extend([dlib.point(round(x), round(y)) for x, y in face.landmarks - 0.5])
    box = dlib.rectangle(*(round(side) for side in face.box))
    shape = dlib.full_object_detection(box, points)
    path = faces.model_file("dlib_face_recognition_resnet_model_v1.dat")
    network = dlib.face_recognition_model_v1(str(path))
    own = torch.tensor(list(network.compute_face_descriptor(photo, shape)))
    assert (own - found[0]).norm() < 0.2
    with pytest.raises(ValueError, match="uint8"):
        embed(torch.zeros(1, 3, 128, 128))
