"""The wheel holds the whole package and nothing else, and works where the checkout is not."""

import importlib.metadata
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FOLDERS = ("agents", "backend", "envs", "renderers", "zoo")
LAZY = ("matplotlib", "moviepy", "skimage", "stable_baselines3")
MIB = 2**20

pytestmark = pytest.mark.xdist_group("packaging")  # one worker, so that the wheel is built once

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = [sys.argv[1]]
sys.path += sys.argv[2:]
import neuralpaint
assert neuralpaint.__file__.startswith(sys.argv[1]), neuralpaint.__file__
print(neuralpaint.__name__)
for module in pkgutil.walk_packages(neuralpaint.__path__, "neuralpaint."):
    loaded = importlib.import_module(module.name)
    assert loaded.__file__.startswith(sys.argv[1]), loaded.__file__
    print(module.name)
"""


def source_files() -> list[Path]:
    """The files a commit would hold, relative to the root; all that is there outside of git."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        files = [Path(name) for name in listed.split("\0") if name]
    else:
        inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
        files = [path.relative_to(ROOT) for path in (*inside, *(ROOT / "neuralpaint").iterdir())]
        files += [Path(name) for name in ("pyproject.toml", "README.md", "LICENSE")]
    generated = {"__pycache__", "out"}
    return [
        path
        for path in files
        if not generated.intersection(path.parts)
        and ((ROOT / path).is_symlink() or (ROOT / path).is_file())
    ]


def package_files() -> set[str]:
    """Where each file of the package's folders belongs inside the installed package."""
    return {
        path.as_posix() if path.parts[0] == "neuralpaint" else f"neuralpaint/{path.as_posix()}"
        for path in source_files()
        if path.parts[0] in (*FOLDERS, "neuralpaint") and not (ROOT / path).is_symlink()
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built without a network from a copy, so that the tree stays clean."""
    copy = tmp_path_factory.mktemp("source")
    for path in source_files():
        if not (ROOT / path).is_symlink():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy / path)
    out = tmp_path_factory.mktemp("wheel")
    run(["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)], copy)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet"]
    run([*pip, "--disable-pip-version-check", "--target", str(target), str(wheel)], target)
    return target


def run(arguments: list[str], folder: Path) -> str:
    """Run this interpreter in `folder`; a failure shows what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_list_names_every_folder_with_code() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = {
        init.parent.relative_to(ROOT): ".".join(
            ("neuralpaint", *init.parent.relative_to(ROOT).parts)
        )
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert {path.parts[0] for path in found} == set(FOLDERS)
    assert sorted(setuptools["packages"]) == sorted(["neuralpaint", *found.values()])
    mapped = {name: Path(folder) for name, folder in setuptools["package-dir"].items()}
    assert mapped == {"neuralpaint": Path("neuralpaint"), **{n: p for p, n in found.items()}}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="source releases hold no symbolic links")
def test_each_link_is_relative_and_leads_to_its_folder() -> None:
    links = {
        path.name: os.readlink(path)
        for path in (ROOT / "neuralpaint").iterdir()
        if path.is_symlink()
    }
    assert links == {name: f"../{name}" for name in FOLDERS}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package_files()
    assert "neuralpaint/py.typed" in held


@pytest.mark.parametrize(
    "name",
    [
        "renderers/weights/neural.safetensors",
        "envs/weights/vgg.safetensors",
        "agents/weights/attention.safetensors",
        "agents/weights/painter.safetensors",
    ],
)
def test_the_wheel_brings_the_weights(wheel: Path, name: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(f"neuralpaint/{name}").file_size > 0


def test_wheel_and_files_are_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 100 * MIB
    sizes = {path: (ROOT / path).stat().st_size for path in source_files()}
    assert [str(path) for path, size in sizes.items() if size > 16 * MIB] == []


def test_nothing_but_neuralpaint_is_installed(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    (info,) = (name for name in names if name.endswith(".dist-info"))
    assert info.startswith("neuralpaint-")
    assert names - {info, "bin"} == {"neuralpaint"}
    assert [path.name for path in (installed / "bin").iterdir()] == ["neuralpaint"]


def test_version_and_command_of_the_installed_package(installed: Path) -> None:
    (distribution,) = importlib.metadata.distributions(path=[str(installed)])
    assert f'__version__ = "{distribution.version}"' in (
        ROOT / "neuralpaint/__init__.py"
    ).read_text("utf-8")
    assert {(e.name, e.value) for e in distribution.entry_points} == {
        ("neuralpaint", "neuralpaint.cli:app")
    }


def test_every_installed_module_imports(installed: Path, tmp_path: Path) -> None:
    # -I -S: neither the working folder nor the editable install of the checkout can be seen.
    libraries = [path for path in site.getsitepackages() if Path(path).is_dir()]
    imported = run(["-I", "-S", "-c", IMPORT_ALL, str(installed), *libraries], tmp_path).split()
    expected = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in package_files()
        if name.endswith(".py")
    }
    assert set(imported) == expected


def test_importing_the_package_leaves_heavy_libraries_alone(tmp_path: Path) -> None:
    code = f"import neuralpaint, sys; print(*sorted(set({LAZY}) & set(sys.modules)))"
    assert (
        run(["-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"], tmp_path).split()
        == []
    )
