"""README and docs are run: every ``bash`` block line by line, every ``python`` block, as they stand.

Two things are done to them, no more: trainings are cut to two steps of a tiny network, and all commands run
in a folder that holds what the texts speak of.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.main import get_command

from medseg.cli.app import app, main
from scripts.make_sample import TEMPLATE, crop_left_hippocampus
from tests.ball_data import SMALL, make_case, write_nifti
from tests.label_map_data import WHOLE_HEAD, write_label_maps, write_priors, write_table

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORT = (*SMALL, "schedule.steps=2", "schedule.validate_every=2", "schedule.coarse_until=0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the demo's ``scan.nii.gz``, ``reference.nii.gz`` on its grid, the whole template as
    ``head.nii.gz``, two datasets, and a cohort of ten cases.
    """
    spec = importlib.util.find_spec("nilearn")
    assert spec is not None
    assert spec.origin is not None
    template = nibabel.load(Path(spec.origin).parents[1] / TEMPLATE)
    scan = crop_left_hippocampus(template)
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    nibabel.save(template, tmp_path / "head.nii.gz")
    labels = np.zeros(scan.shape, np.uint8)
    labels[12:20, 28:40, 5:15] = 1
    nibabel.save(nibabel.Nifti1Image(labels, scan.affine), tmp_path / "reference.nii.gz")
    for seed in range(5):
        image, label = make_case(seed)
        write_nifti(tmp_path / "dataset" / "images" / f"case{seed}.nii.gz", image)
        write_nifti(tmp_path / "dataset" / "labels" / f"case{seed}.nii.gz", label)
    rows = ["case_id,image,reference,group,age"]
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 2, scan.shape)
        noisy = np.asarray(scan.dataobj, np.float32) + noise.astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(noisy, scan.affine), tmp_path / f"cohort{seed}.nii.gz")
        group, age = "ab"[seed % 2], 60 + seed * seed % 11
        rows.append(f"case{seed},cohort{seed}.nii.gz,reference.nii.gz,{group},{age}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    maps = write_label_maps(tmp_path / "brain_labels")
    write_table(maps, WHOLE_HEAD)
    write_priors(maps, "t1", [(row[0], 10 * row[3], 1, 5, 1) for row in WHOLE_HEAD])
    return tmp_path


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_commands_and_snippets_run_as_they_stand(
    text: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for language, block in blocks(text):
        if language == "bash":
            for line in block.splitlines():
                command, *arguments = shlex.split(line)
                assert command == "medseg", f"{text.name}: {line}"
                code = main([*arguments, *(SHORT if arguments[0] == "train" else ())])
                assert code == 0, f"{text.name}: {line}: exit code {code}"
        elif language == "python":
            exec(compile(block, str(text), "exec"), {})


def test_the_readme_is_not_without_commands() -> None:
    languages = [language for language, _ in blocks(ROOT / "README.md")]
    assert {"console", "bash", "python"} <= set(languages)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_links_and_scripts_lead_somewhere(text: Path) -> None:
    written = text.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", written) if "://" not in link]
    scripts = [ROOT / path for path in re.findall(r"\bscripts/\w+\.\w+", written)]
    missing = [path for path in (*(text.parent / link for link in links), *scripts) if not path.exists()]
    assert not missing


@pytest.mark.parametrize("name", ["infer", "inspect", "convert", "plan", "train", "evaluate"])
def test_the_reference_lists_exactly_the_options_there_are(name: str) -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    section = text.split(f"\n## medseg {name}\n")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`-.*?) \|", section, re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--?[\w-]+)`", cell)}
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    real = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    assert listed | {"-q"} == real


def blocks(text: Path) -> list[tuple[str, str]]:
    """Fenced code blocks as (language, content)."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
