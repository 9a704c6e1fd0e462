"""Both distributions are built, hold what they need, and run where they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest

from factories.adapters import trio
from robustmerge.cli import app

ROOT = Path(__file__).parents[1]
FOLDERS = {"robustmerge": ROOT, "robustmerge_bench": ROOT / "bench"}
DATA = {
    "robustmerge": ("py.typed", "diagnosis/report/page.css", "diagnosis/report/page.js"),
    "robustmerge_bench": ("mini/page.css", "paper/lmms/tasks/_shared"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels and source packages."""
    out = tmp_path_factory.mktemp("dist")
    for folder in FOLDERS.values():
        build(folder, out)
    return out


def build(folder: Path, out: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels, without their dependencies."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    wheels = [str(wheel) for wheel in built.glob("*.whl")]
    subprocess.run([*pip, "--target", str(site), *wheels], check=True)
    return site


def run(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "robustmerge", *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_wheels_hold_the_package_and_its_data_alone(built: Path, name: str) -> None:
    (wheel,) = built.glob(f"{name}-*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {file.split("/")[0].split("-")[0] for file in files} == {name}
    assert {f"{name}/{file}" for file in DATA[name]} <= set(files)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_source_packages_build_the_same_wheel(built: Path, name: str, tmp_path: Path) -> None:
    (source,) = built.glob(f"{name}-*.tar.gz")
    (wheel,) = built.glob(f"{name}-*.whl")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    build(folder, tmp_path / "again")
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_what_is_installed_merges(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "merge", *trio(tmp_path), "-o", "merged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "merged" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_what_is_installed_has_the_benchmark(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "bench", "lmms-tasks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_without_the_benchmark_its_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = app.App(name="robustmerge")
    monkeypatch.setattr(app, "app", commands)
    monkeypatch.setattr(app, "entry_points", lambda group: EntryPoints())
    app._add_commands_of_other_packages()
    assert app.run(["bench", "mini", "run", "--out", "x"]) == 1
    assert "pip install robustmerge-bench" in capsys.readouterr().err
