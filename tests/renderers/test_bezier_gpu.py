"""The Triton kernels against the plain torch reference and the CPU kernels.

Without a GPU they run in Triton's interpreter, and the compiler is tried for GPUs that are not
there: it refuses things that the interpreter takes. Whether Triton interprets is settled when it is
first imported, so both happen in processes of their own.
"""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralpaint.backend.buckets import Batch
from neuralpaint.backend.graphs import Graphed
from neuralpaint.renderers import bezier, bezier_gpu, reference
from neuralpaint.renderers.stroke import random_strokes, to_pixels

ROOT = Path(__file__).parents[2]
HAS_TRITON = importlib.util.find_spec("triton") is not None

pytestmark = pytest.mark.xdist_group("bezier_gpu")  # one worker, so that cases are computed once
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")

INTERPRET = """
import sys
import torch
from safetensors.torch import load_file, save_file
from neuralpaint.renderers import bezier_gpu
given, results = load_file(sys.argv[1]), {}
for name in sorted({key.split("/")[0] for key in given}):
    bezier_gpu.MAX_PROGRAMS = int(given[f"{name}/programs"])
    canvas, upstream = (given[f"{name}/{key}"].mT.contiguous().mT for key in ("canvas", "upstream"))
    geometry = given[f"{name}/geometry"].requires_grad_()
    out = bezier_gpu.paint_geometry(
        canvas.requires_grad_(), geometry, float(given[f"{name}/softness"])
    )
    grads = torch.autograd.grad(out, (canvas, geometry), upstream)
    for key, value in zip(("out", "grad_canvas", "grad_geometry"), (out.detach(), *grads)):
        results[f"{name}/{key}"] = value.contiguous()
save_file(results, sys.argv[2])
"""

COMPILE = """
import json
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neuralpaint.renderers import bezier_gpu

searches = []
# Triton makes constants of sizes that are 1.
for capability, channels, ones in ((80, 3, ()), (90, 1, SIZES)):
    found = []
    for kernel in (bezier_gpu._paint, bezier_gpu._backward):
        names = [parameter.name for parameter in kernel.params]
        fixed = {"CHANNELS": channels, **{name: 1 for name in ones if name in names}}
        types = {
            name: "constexpr" if name in fixed
            else "i32" if name in SIZES
            else "fp32" if name == "softness"
            else "*fp32"
            for name in names
        }
        compiled = compile(
            ASTSource(kernel, types, fixed),
            target=GPUTarget("cuda", capability, 32),
            options=bezier_gpu.OPTIONS,
        )
        assert len(compiled.asm["cubin"]) > 0
        found.append(compiled.asm["ttir"].count("math.sqrt"))
    searches.append(found)
print(json.dumps(searches))
"""

WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
from neuralpaint.renderers import bezier_gpu
try:
    bezier_gpu.paint_geometry(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 13))
except ImportError as error:
    print(error)
"""


def run(code: str, *arguments: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the cases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    canvas: Tensor
    geometry: Tensor
    softness: float = 0.5
    programs: int = 1024  # at most, in backward


@dataclass(frozen=True)
class Result:
    """What a rasteriser made of a case."""

    out: Tensor
    grad_canvas: Tensor
    grad_geometry: Tensor


def canvas(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def drawn(batch: int, count: int, height: int, width: int, seed: int) -> Tensor:
    strokes = random_strokes(batch * count, torch.Generator().manual_seed(seed))
    return to_pixels(strokes.reshape(batch, count, 13), height, width)


def discs(opacities: list[tuple[float, float]]) -> Tensor:
    """Strokes that cover an 8 x 16 canvas and whose opacity varies over it."""
    geometry = torch.tensor([-2.0, 4, 9, 3, 17, 5, 25, 0, 30, 0, 0.9, 0.4, 0.1])
    geometry = geometry.repeat(len(opacities), 1)
    geometry[:, 7:10:2] = torch.tensor(opacities)
    geometry[1::2, 10:] = 1 - geometry[1::2, 10:]
    return geometry[None]


OUTSIDE = [
    [-40.0, 5, -30, 9, -20, 5, 3, 0.3, 4, 0.8, 1, 0, 1],
    [60.0, 5, 50, 9, 40, 5, 3, 0.3, 4, 0.8, 1, 0, 1],
    [5.0, -60, 9, -50, 5, -40, 3, 0.3, 4, 0.8, 1, 0, 1],
    [5.0, 90, 9, 80, 5, 70, 3, 0.3, 4, 0.8, 1, 0, 1],
    # Its box holds the canvas, its arc does not come near.
    [-30.0, 40, 40, 40, 40, -30, 2, 0.3, 3, 0.8, 1, 0, 1],
]
LONG = [2.0, 3, 30, 6, 62, 4, 2, 0.3, 1.5, 0.8, 0.7, 0.1, 0.3]
HAIRPIN = [2.0, 3, 70, 5, 1, 12, 1.5, 0.9, 2.5, 0.2, 0.7, 0.1, 0.3]

CASES = {
    "colour": Case(canvas(2, 3, 12, 21), drawn(2, 3, 12, 21, 1)),
    "gray": Case(canvas(1, 1, 17, 9), drawn(1, 3, 17, 9, 2)),
    "no strokes": Case(canvas(2, 3, 3, 5), torch.zeros(2, 0, 13)),
    "no images": Case(torch.zeros(0, 3, 3, 5), torch.zeros(0, 2, 13)),
    "soft": Case(canvas(1, 3, 14, 15), drawn(1, 2, 14, 15, 3), softness=1.5),
    "hard": Case(canvas(1, 1, 14, 15), drawn(1, 2, 14, 15, 4), softness=0.1),
    "outside": Case(canvas(1, 3, 8, 24), torch.tensor([OUTSIDE])),
    "hairpin": Case(canvas(1, 1, 14, 32), torch.tensor([[HAIRPIN]])),
    "one pixel": Case(
        torch.full((1, 1, 1, 1), 0.4),
        torch.tensor([[[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 5, 0.25, 5, 0.25, 0.8, 0, 0]]]),
    ),
    # The ends coincide: the thick one is the whole stroke.
    "dab": Case(
        canvas(1, 3, 14, 15), torch.tensor([[[7, 6, 7, 6, 7, 6, 1, 0.2, 5, 0.7, 0.8, 0.1, 0.3]]])
    ),
    "turns": Case(canvas(1, 1, 8, 64), torch.tensor([[LONG]]), programs=2),
    "opaque": Case(
        canvas(1, 3, 8, 16), discs([(0.3, 0.7), (0.8, 0.2), (1, 1), (0.5, 0.1), (0.6, 0.9)])
    ),
    # The product of what passes these falls to 2^-74 and comes back.
    "nearly opaque": Case(
        canvas(1, 3, 8, 16), discs([(0.3, 0.7)] + [(0.9995, 0.9999)] * 6 + [(0.2, 0.6)])
    ),
}


@cache
def contested(name: str) -> Tensor:
    """Pixels near a medial axis: a second place on a curve is almost as deep as the best.

    Returns:
        (B, 1, H, W) bool.
    """
    case = CASES[name]
    batch, _, height, width = case.canvas.shape
    found = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    y = torch.arange(height, dtype=torch.float64)[:, None, None] + 0.5
    x = torch.arange(width, dtype=torch.float64)[:, None] + 0.5
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    for b in range(batch):
        for x0, y0, x1, y1, x2, y2, r0, _, r1, *_ in case.geometry[b].double().tolist():
            qx = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * x1 + t**2 * x2
            qy = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * y1 + t**2 * y2
            depth = r0 + (r1 - r0) * t - torch.hypot(x - qx, y - qy)
            padded = torch.nn.functional.pad(depth, (1, 1), value=-torch.inf)
            peak = (depth > padded[..., :-2]) & (depth >= padded[..., 2:])
            close = depth > depth.amax(-1, keepdim=True) - 0.3
            found[b] |= (peak & close).sum(-1) > 1
    return found


def noise(shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9))


def upstream(name: str) -> Tensor:
    """Gradient of a case's result; none where t* may jump."""
    return noise(CASES[name].canvas.shape) * ~contested(name)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    if not HAS_TRITON:
        pytest.skip("Triton is not installed")
    folder = tmp_path_factory.mktemp("interpreted")
    given = {}
    for name, case in CASES.items():
        given[f"{name}/canvas"] = case.canvas
        given[f"{name}/geometry"] = case.geometry
        given[f"{name}/upstream"] = upstream(name)
        given[f"{name}/softness"] = torch.tensor(case.softness)
        given[f"{name}/programs"] = torch.tensor(case.programs)
    save_file(given, folder / "given")
    run(INTERPRET, folder / "given", folder / "results", TRITON_INTERPRET="1")
    values = load_file(folder / "results")
    return {
        name: Result(*(values[f"{name}/{key}"] for key in ("out", "grad_canvas", "grad_geometry")))
        for name in CASES
    }


def rasterised(case: Case, grad: Tensor, device: str = "cpu") -> Result:
    """What the renderer of that device makes of a case."""
    canvas, geometry = (
        tensor.to(device, copy=True).requires_grad_() for tensor in (case.canvas, case.geometry)
    )
    out = bezier.paint_geometry(canvas, geometry, case.softness)
    grads = torch.autograd.grad(out, (canvas, geometry), grad.to(device))
    return Result(*(value.cpu() for value in (out.detach(), *grads)))


def by_reference(case: Case, grad: Tensor) -> Result:
    canvas, geometry = case.canvas.double(), case.geometry.double()
    out = reference.paint(canvas.requires_grad_(), geometry.requires_grad_(), case.softness)
    grads = torch.autograd.grad(
        out, (canvas, geometry), grad.double(), materialize_grads=True, allow_unused=True
    )
    return Result(out.detach(), *grads)


PAINTED = [name for name, case in CASES.items() if case.canvas.numel()]


# --- in the interpreter --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAINTED)
def test_agrees_with_the_reference(interpreted: dict[str, Result], name: str) -> None:
    found, expected = interpreted[name], by_reference(CASES[name], upstream(name))
    sure = ~contested(name).expand_as(expected.out)
    assert sure.double().mean() > 0.7
    assert (found.out - expected.out)[sure].abs().max() < 1e-3
    assert (found.grad_canvas - expected.grad_canvas).abs().max() < 1e-3
    # Field by field: a position is no measure for a colour.
    for field in range(13):
        values = expected.grad_geometry[..., field]
        error = (found.grad_geometry[..., field] - values).abs()
        assert error.numel() == 0 or error.max() <= 1e-2 * values.abs().max() + 1e-4, field


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_cpu_kernels(interpreted: dict[str, Result], name: str) -> None:
    found, expected = interpreted[name], rasterised(CASES[name], upstream(name))
    sure = ~contested(name).expand_as(expected.out)
    torch.testing.assert_close(found.out[sure], expected.out[sure], rtol=0, atol=2e-5)
    torch.testing.assert_close(found.grad_canvas, expected.grad_canvas, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.grad_geometry, expected.grad_geometry, rtol=1e-3, atol=1e-3)


def test_one_pixel_by_hand(interpreted: dict[str, Result]) -> None:
    # A quarter of 0.8 over 0.4, in a disc that ends far away.
    found, grad = interpreted["one pixel"], upstream("one pixel").item()
    assert found.out.item() == pytest.approx(0.5)
    assert found.grad_canvas.item() == pytest.approx(0.75 * grad)
    fields = found.grad_geometry[0, 0] / grad
    assert fields[7] + fields[9] == pytest.approx(0.4)
    assert fields[10] == pytest.approx(0.25)
    assert fields[[0, 1, 2, 3, 4, 5, 6, 8, 11, 12]].tolist() == [0] * 10


def test_nothing_passes_an_opaque_stroke(interpreted: dict[str, Result]) -> None:
    found = interpreted["opaque"]
    assert found.grad_canvas.abs().max() == 0
    assert found.grad_geometry[0, :2].abs().max() == 0
    assert found.grad_geometry[0, 2:, 9:].abs().min() > 0


def test_strokes_off_the_canvas_change_nothing(interpreted: dict[str, Result]) -> None:
    found, case = interpreted["outside"], CASES["outside"]
    assert torch.equal(found.out, case.canvas)
    assert torch.equal(found.grad_canvas, upstream("outside"))
    assert found.grad_geometry.abs().max() == 0


def test_no_strokes_change_nothing(interpreted: dict[str, Result]) -> None:
    found, case = interpreted["no strokes"], CASES["no strokes"]
    assert torch.equal(found.out, case.canvas)
    assert torch.equal(found.grad_canvas, upstream("no strokes"))
    assert found.grad_geometry.shape == (2, 0, 13)


# --- without running -----------------------------------------------------------------------------


@needs_triton
def test_compiles_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    sizes = ("count", "height", "width", "across", "tiles", "programs")
    code = f"SIZES = {sizes}\n{COMPILE}"
    found = json.loads(run(code, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)))
    # Backward holds the search for t* once, like forward: both its walks see the same bits. The
    # one more square root is that of its gradient.
    assert len(found) == 2
    assert all(backward == forward + 1 for forward, backward in found)


def test_imports_without_triton_and_says_what_to_do() -> None:
    assert "pip install triton" in run(WITHOUT_TRITON)


@needs_triton
@pytest.mark.parametrize(
    ("canvas", "geometry", "message"),
    [
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 13), "1 or 3 channels"),
        (torch.zeros(1, 3, 4, 4).double(), torch.zeros(1, 1, 13), "canvas: float32"),
        (torch.zeros(3, 4, 4), torch.zeros(1, 1, 13), "canvas: float32"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(1, 1, 13), r"geometry: float32 \(2, K, 13\)"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(13), r"geometry: float32 \(1, K, 13\)"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 12), r"geometry: float32 \(1, K, 13\)"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 13).double(), "geometry: float32"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 13, device="meta"), "cpu, geometry on meta"),
    ],
)
def test_refuses_what_the_kernels_do_not_take(
    canvas: Tensor, geometry: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bezier_gpu.paint_geometry(canvas, geometry)


def test_bytes_moved_by_hand() -> None:
    canvas, geometry = torch.zeros(2, 3, 8, 32), torch.zeros(2, 5, 13)
    assert bezier_gpu.bytes_moved(canvas, geometry) == 4 * (2 * 1536 + 130)
    # Two tiles an image: their rows are cleared, written and read, and the sum is written.
    assert bezier_gpu.bytes_moved(canvas, geometry, backward=True) == 4 * (
        3 * 1536 + 130 + 3 * 2 * 130 + 130
    )


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("name", PAINTED)
def test_gpu_agrees_with_the_cpu_kernels(name: str) -> None:
    case, grad = CASES[name], upstream(name)
    found, expected = rasterised(case, grad, "cuda"), rasterised(case, grad)
    sure = ~contested(name).expand_as(expected.out)
    torch.testing.assert_close(found.out[sure], expected.out[sure], rtol=0, atol=1e-3)
    torch.testing.assert_close(found.grad_canvas, expected.grad_canvas, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found.grad_geometry, expected.grad_geometry, rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
def test_gpu_agrees_on_large_canvases_and_repeats_its_bits() -> None:
    case = Case(canvas(3, 3, 400, 300), drawn(3, 40, 400, 300, 8))
    grad = noise(case.canvas.shape)
    found, again = rasterised(case, grad, "cuda"), rasterised(case, grad, "cuda")
    expected = rasterised(case, grad)
    for name in ("out", "grad_canvas", "grad_geometry"):
        values, wanted = getattr(found, name), getattr(expected, name)
        assert torch.equal(values, getattr(again, name))
        assert (values - wanted).norm() < 1e-2 * wanted.norm(), name


@pytest.mark.gpu
def test_gpu_graphs_record_both_passes() -> None:
    case = Case(canvas(2, 3, 64, 48), drawn(2, 5, 64, 48, 10))
    device = torch.device("cuda", torch.cuda.current_device())

    def both(batch: Batch) -> Batch:
        canvas, geometry = (
            batch[name].detach().requires_grad_() for name in ("canvas", "geometry")
        )
        with torch.enable_grad():
            out = bezier.paint_geometry(canvas, geometry)
            grads = torch.autograd.grad(out.sum(), (canvas, geometry))
        return {"out": out.detach(), "canvas": grads[0], "geometry": grads[1]}

    given = {"canvas": case.canvas.cuda(), "geometry": case.geometry.cuda()}
    graphed, expected = Graphed(both, device), both(given)
    first = graphed({"canvas": torch.zeros_like(given["canvas"]), "geometry": given["geometry"]})
    found = graphed(given)  # a replay, with another canvas
    assert not torch.equal(first["out"], found["out"])
    assert all(torch.equal(found[name], expected[name]) for name in expected)
