"""Files of a merge against the hashes in its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from factories.adapters import adapter, trio
from robustmerge import merge
from robustmerge.checks.check import CheckReport, check
from robustmerge.checks.findings import CheckStatus, Finding


def hashes(checked: CheckReport) -> Finding:
    (result,) = [x.finding for x in checked.lines if (x.subject, x.check) == ("files", "hashes")]
    return result


def merged(root: Path) -> Path:
    merge(trio(root), root / "out")
    return root / "out"


def test_a_merge_is_what_its_record_says(tmp_path: Path) -> None:
    folder = merged(tmp_path)
    result = hashes(check(folder))
    assert result == Finding(CheckStatus.OK, "the 3 files are what the merge wrote")
    assert check(folder).holds
    assert not any(x.subject == "files" for x in check(tmp_path / "a").lines)


def test_a_damaged_copy_is_noticed(tmp_path: Path) -> None:
    folder = merged(tmp_path)
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    checked = check(folder)
    result = hashes(checked)
    assert result.text == "not what the merge wrote: adapter_model.safetensors"
    assert not checked.holds


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{", "not valid JSON"),
        ("{}", "records no hashes"),
        ('{"output": {"sha256": 3}}', "records no hashes"),
        ('{"output": {"sha256": {"gone.bin": "0"}}}', "records it: gone.bin"),
        ('{"output": {"sha256": {"../a/adapter_config.json": "0"}}}', "names files elsewhere"),
    ],
)
def test_a_record_that_is_of_no_use(record: str, words: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    (folder / "merge.json").write_text(record)
    result = hashes(check(folder))
    assert result.verdict is CheckStatus.FAILS
    assert words in result.text
