"""Builds the wheel, looks into it, and plays from it in clean environments.

    python -m tests.check_wheel

The environments are of the oldest and of the newest Python that setup.cfg names, in ``.venvs``. One
that this machine lacks is named and left out; it is an error if it lacks both.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "dist", "*.egg-info", "runs", "_build", "generated"
)

EPISODE = """
import sys
import gymnasium, zs_env
assert zs_env.__file__.startswith(sys.prefix), zs_env.__file__
env = gymnasium.make("ZeroSearch-v0")
env.reset(seed=0)
observation, *_ = env.step("<search>birthplace of Ada Blake</search>")
assert "<information>" in observation, observation
golden_answer = env.unwrapped.episode.question.golden_answers[0]
_, reward, terminated, *_ = env.step(f"<answer>{golden_answer}</answer>")
assert terminated and reward == 1.0, (terminated, reward)
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return what ``command`` prints; end with what it complains of if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel in ``folder``, of a copy: what lies in ``build`` would get into it."""
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    run(*command, folder, folder / "source")
    [wheel] = folder.glob("*.whl")
    return wheel


def check_content(wheel: Path) -> None:
    """Compare the wheel with the folder ``zs_env``: all of that, and nothing else."""
    files = set(zipfile.ZipFile(wheel).namelist())
    found = {name for name in files if not re.match(r"zs_env-[^/]*\.dist-info/", name)}
    paths = [*(ROOT / "zs_env").rglob("*.py"), ROOT / "zs_env" / "py.typed"]
    paths += (ROOT / "zs_env" / "llm" / "world").iterdir()
    expected = {str(path.relative_to(ROOT)) for path in paths}
    if found != expected:
        sys.exit(
            f"{wheel.name} lacks {sorted(expected - found)}, and has besides "
            f"{sorted(found - expected)}: see `packages` and `package_data` in setup.cfg."
        )


def claimed_versions() -> list[str]:
    """Return the oldest and the newest Python of the classifiers, such as 3.10."""
    found = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text())
    versions = sorted(found, key=lambda version: int(version[2:]))
    return [versions[0], versions[-1]]


def find_python(version: str) -> Path | None:
    """Return the interpreter of ``version``: that of the PATH, or one that pyenv keeps."""
    installed = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    for candidate in (shutil.which(f"python{version}"), *installed):
        if (
            candidate
            and not subprocess.run([candidate, "--version"], capture_output=True).returncode
        ):
            return Path(candidate)
    return None


def play(wheel: Path, version: str, python: Path) -> None:
    """Install the wheel for ``version``, and use it far from the checkout."""
    folder = ROOT / ".venvs" / f"wheel-{version}"
    run(python, "-m", "venv", "--clear", folder)
    constraints = ROOT / "constraints.txt"
    install = ("-m", "pip", "install", "--quiet", "--no-compile", wheel, "-c", constraints)
    run(folder / "bin" / "python", *install)
    with tempfile.TemporaryDirectory() as elsewhere:
        run(folder / "bin" / "python", "-W", "error", "-c", EPISODE, cwd=Path(elsewhere))
        command = [folder / "bin" / "zs-env", "search", "birthplace of Ada Blake"]
        documents = run(*command, cwd=Path(elsewhere))
    if "Doc 1: " not in documents:
        sys.exit(f"`zs-env search` printed no document with Python {version}, but\n{documents}")
    print(f"{wheel.name} plays an episode and searches with Python {version}")


def main() -> None:
    """Check the wheel."""
    versions = {version: find_python(version) for version in claimed_versions()}
    if not any(versions.values()):
        sys.exit(f"none of Python {', '.join(versions)} is on this machine: install one.")
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        check_content(wheel)
        for version, python in versions.items():
            if python is None:
                print(f"Python {version} is not on this machine: {wheel.name} is not tried with it")
            else:
                play(wheel, version, python)


if __name__ == "__main__":
    main()
