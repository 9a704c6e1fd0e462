"""`robustmerge show` and `robustmerge check` as a user runs them, in a terminal of 100 columns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter, trio
from factories.families import build, save_adapter
from robustmerge.cli.app import run
from robustmerge.cli.rows import LabeledRow, print_rows

Capture = pytest.CaptureFixture[str]
PROJECTOR = "model.multi_modal_projector.linear_1.weight"


@pytest.fixture(autouse=True)
def _terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, arguments: Sequence[str], code: int = 0) -> str:
    """What a command prints; no line is too long or ends in spaces."""
    assert run(list(arguments)) == code
    out = capsys.readouterr().out
    for line in out.splitlines():
        assert len(line) <= 100 or "--json" in arguments
        assert line == line.rstrip()
    return out


def rows(out: str, title: str) -> dict[str, str]:
    """One block's rows: names, and values on one line."""
    block = out.split(f"{title}\n", 1)[1].split("\n\n", 1)[0]
    found: dict[str, str] = {}
    last = ""
    for line in block.splitlines():
        name = line[2:].split("  ", 1)[0].strip() if line[2] != " " else ""
        last = name or last
        found[last] = f"{found.get(last, '')} {line[2 + len(name) :].strip()}".strip()
    return found


def test_one_adapter(capsys: Capture) -> None:
    adapter(Path("vqa"), extras={PROJECTOR: torch.ones(3, 2)})
    out = printed(capsys, ["show", "vqa"])
    found = rows(out, "vqa")
    size = (Path("vqa/adapter_model.safetensors")).stat().st_size
    assert found.pop("norm").replace(".", "").isdigit()
    assert found == {
        "base": "tiny/base",
        "family": "llava_onevision or llava_next or internvl or gemma3 or paligemma or mistral3 or "
        "mllama or llava (from the module names)",
        "layout": "hf",
        "modules": "6 language in 2 blocks: down_proj q_proj v_proj",
        "rank": "4",
        "scaling": "2 = alpha 8 / 4",
        "extras": f"{PROJECTOR} [3, 2]",
        "type": "F32",
        "size": f"{size / 1000:.1f} kB",
        "remarks": "full tensors that modules_to_save does not name: "
        "model.multi_modal_projector.linear_1",
    }
    assert "together" not in out


def test_what_adapters_have_in_common_is_printed_once(capsys: Capture) -> None:
    one, other = adapter(Path("one")), adapter(Path("other"), seed=1, rank=2)
    out = printed(capsys, ["show", str(one), str(other)])
    assert rows(out, "in common")["base"] == "tiny/base"
    assert out.count("tiny/base") == 1
    assert rows(out, str(one))["rank"] == "4"
    assert rows(out, str(other))["rank"] == "2"


def test_adapters_that_go_together(capsys: Capture) -> None:
    found = rows(printed(capsys, ["show", *trio(Path())]), "together")
    assert found["merge"] == "yes, as they are"
    assert found["A's"].startswith("independent initializations cosine of entries")
    assert "over 6 modules" in found["A's"]
    assert "prefer methods on the updates (task-arithmetic" in found["A's"]
    assert found["norms"].startswith("even")


def test_a_shared_initialization(capsys: Capture) -> None:
    folders = trio(Path())
    first = load_file(Path("a/adapter_model.safetensors"))
    for name in "bc":
        path = Path(name, "adapter_model.safetensors")
        own = load_file(path)
        save_file({n: first[n] if "lora_A" in n else own[n] for n in own}, path)
    found = rows(printed(capsys, ["show", *folders]), "together")
    assert found["A's"].startswith("shared initialization cosine of entries 1.00 (unrelated: 0)")
    assert (
        "factor-wise methods (robustmerge, average, ties on factors) mean something"
        in (found["A's"])
    )
    adapter(Path("c"), seed=7)
    out = printed(capsys, ["show", *folders])
    assert rows(out, "together")["A's"].startswith("some adapters share an initialization")
    matrix = out.split("cosine of entries ")[-1].splitlines()
    assert [line.split()[-3:] for line in matrix[1:3]] == [
        ["1", "1.00", matrix[3].split()[-3]],
        ["1.00", "1", matrix[3].split()[-2]],
    ]
    assert all(abs(float(cell)) < 0.5 for cell in matrix[3].split()[-3:-1])


def test_uneven_norms_and_the_weights_that_even_them(capsys: Capture) -> None:
    small, large = adapter(Path("s"), alpha=2), adapter(Path("l"), alpha=8)
    found = rows(printed(capsys, ["show", str(small), str(large)]), "together")
    assert found["norms"] == (
        "uneven: the largest is 4.0 times the smallest and wins in a sum "
        "--weights 1,0.25 makes them even"
    )


def test_obstacles_and_the_options_that_clear_them(capsys: Capture) -> None:
    few = {name: shape for name, shape in LLM.items() if "layers.0" in name}
    one = adapter(Path("one"), extras={PROJECTOR: torch.ones(3, 2)})
    other = adapter(Path("other"), modules=few, base_model_name_or_path="else/where")
    found = rows(printed(capsys, ["show", str(one), str(other)]), "together")
    assert found["merge"].startswith("only with options adapters disagree on the base model")
    assert "3 of 6 missing" in found["merge"]
    command = f"robustmerge merge {one} {other} -o OUT"
    assert found["merge"].endswith(f"{command} --same-base --missing zero --base MODEL")


def test_a_bare_parameter_goes_beside_the_adapter(capsys: Capture) -> None:
    bare = {"model.image_newline": torch.ones(3)}
    folders = [str(adapter(Path(name), extras=bare)) for name in "ab"]
    found = rows(printed(capsys, ["show", *folders]), "together")
    assert found["merge"].endswith("robustmerge merge a b -o OUT --extras-in beside")


def test_what_no_option_clears(capsys: Capture) -> None:
    shapes = {name: (d_out, d_in + 1) for name, (d_out, d_in) in LLM.items()}
    one, other = (
        adapter(Path("one")),
        adapter(Path("other"), modules=shapes, base_model_name_or_path="x"),
    )
    found = rows(printed(capsys, ["show", str(one), str(other)]), "together")
    assert found["merge"].startswith("no adapters disagree on the base model")
    assert "adapters disagree on the shape of" in found["merge"]
    assert "robustmerge merge" not in found["merge"]
    assert found["A's"] == "not comparable: no module in common"


def test_a_refused_adapter_is_shown_with_the_reason(capsys: Capture) -> None:
    whole, broken = adapter(Path("whole")), adapter(Path("broken"), use_dora=True)
    out = printed(capsys, ["show", str(whole), str(broken)], code=1)
    assert rows(out, str(broken))["refused"].startswith("use_dora is set, which is not plain LoRA")
    assert "norm" in rows(out, str(whole))
    assert rows(out, "together") == {"merge": "no: an adapter is refused"}
    assert "no such folder" in printed(capsys, ["show", "nowhere"], code=1)


def test_long_values_are_broken_at_spaces_alone(capsys: Capture) -> None:
    rows = [
        LabeledRow("name", "word " * 6 + "--an-option-with-many-parts word"),
        LabeledRow("", "  in\nout"),
    ]
    print_rows(Console(width=60), rows)
    assert capsys.readouterr().out.splitlines() == [
        "  name  word word word word word word",
        "        --an-option-with-many-parts word",
        "          in",
        "        out",
    ]


def test_show_as_json(capsys: Capture) -> None:
    found = json.loads(printed(capsys, ["show", *trio(Path()), "--json"]))
    assert [a["label"] for a in found["adapters"]] == list("abc")
    assert found["adapters"][0]["ranks"] == {"4": 6}
    assert found["mergeable"] is True
    assert found["command"] == "robustmerge merge a b c -o OUT"
    assert found["initialization"]["verdict"] == "independent"
    assert len(found["initialization"]["pairs"]) == 3
    alone = json.loads(printed(capsys, ["show", "a", "--json"]))
    assert set(alone) == {"adapters"}


def test_a_merge_that_is_fit_for_use(capsys: Capture) -> None:
    adapters = [save_adapter("llava", Path(name), seed=i) for i, name in enumerate("ab")]
    build("llava").save_pretrained(Path("base"))
    assert run(["merge", *map(str, adapters), "-o", "out"]) == 0
    capsys.readouterr()
    arguments = ["check", "out", "--base", "base"]
    # vLLM does not load a LLaVA that transformers 5 saved.
    assert "vllm       fails  vLLM 0.32 does not load this base" in printed(capsys, arguments)
    others = [part for name in ("peft", "sglang", "llama.cpp") for part in ("--for", name)]
    out = printed(capsys, [*arguments, *others])
    assert out.splitlines()[0] == "out: 14 modules, rank 4"
    assert " ".join(out.splitlines()[3].split()) == "files ok the 3 files are what the merge wrote"
    assert "ok    all 28 tensors have a place in it, of the right shape" in out
    assert "fails" not in out
    assert "not checked" not in out


def test_check_says_what_to_do_and_fails(capsys: Capture) -> None:
    folder = str(adapter(Path("a"), rank=600))
    out = printed(capsys, ["check", folder, "--for", "vllm"], code=1)
    assert "vllm      fails  rank 600 is above 512\n" in out
    assert "→ merge with --rank 512\n" in out
    assert "llama.cpp" not in out
    assert "--base MODEL does" in out


def test_check_without_for_fails_for_peft_alone(capsys: Capture) -> None:
    out = printed(capsys, ["check", str(adapter(Path("a"), rank=600))])
    assert out.endswith("exit code 0: without --for only peft counts\n")
    old = {"language_model.model.layers.0.mlp.up_proj": (4, 4), "visual.blocks.0.qkv": (4, 4)}
    out = printed(capsys, ["check", str(adapter(Path("b"), modules=old))], code=1)
    assert "→ merge with --layout hf\n" in out


def test_check_as_json(capsys: Capture) -> None:
    folder = str(adapter(Path("a"), use_rslora=True))
    arguments = ["check", folder, "--for", "llama.cpp", "--for", "peft", "--json"]
    found = json.loads(printed(capsys, arguments, code=1))
    assert found["holds"] is False
    assert [(c["subject"], c["check"]) for c in found["checks"] if c["verdict"] == "fails"] == [
        ("llama.cpp", "scaling")
    ]
    assert found["ranks"] == [4]


def test_usage_errors_and_what_is_not_there(capsys: Capture) -> None:
    assert run(["check", ".", "--for", "ollama"]) == 2
    assert run(["check", "nowhere"]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert run(["check", str(adapter(Path("a"))), "--base", "."]) == 1
    assert "neither model.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "check"])
def test_help_does_not_import_torch(command: str) -> None:
    code = (
        "import sys\nfrom robustmerge.cli.app import run\n"
        f"run([{command!r}, '--help'])\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"robustmerge {command}" in done.stdout
