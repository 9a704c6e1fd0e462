"""Export an adapter: check, write, record. This is what `robustmerge export` calls.

A format is a row of EXPORTERS: a new one is a module that fills a folder, and its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .._version import __version__
from ..adapter.base import Base
from ..adapter.config import AdapterConfig
from ..adapter.quantized import dequantized
from ..adapter.reader import Adapter
from ..adapter.source import locate
from ..engine.left_out import left_out_warnings, measure_left_out
from ..errors import MergeError, enough_memory, unknown
from ..files import expand_user, read_json, sha256, write_json
from ..outputs import ResultKind, check_target, list_files, whole_folder
from ..threads import Progress, silent
from . import full, original
from .changes import AdapterChanges, open_changes
from .companions import open_base, settings_file
from .embedded import write_embedded
from .gguf_file import check_output, write_gguf
from .llama_cpp import plan_gguf
from .quantized import describe_sum

RECORD = "export.json"
KIND = ResultKind("an export", RECORD)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        format: Name of the exporter.
        adapter: What the user called the adapter.
        base: What the base is called, '' where none was needed.
        modules: How many modules have a low-rank update.
        replaced: Canonical names of the fully trained parameters.
        untied: Whether the base's output head had to get a weight of its own.
        sha256: Hashes of the adapter's files.
        text_only: Whether the base is a language model without vision.
        onto: Of a full export: which weights the updates were added to.
        left_out: What was lost by `leave_out`, in words.
    """

    format: str
    adapter: str
    base: str
    modules: int
    replaced: tuple[str, ...]
    untied: bool
    sha256: dict[str, str]
    text_only: bool = False
    onto: str = ""
    left_out: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as export.json has it, where the format is still called layout."""
        fields = asdict(self)
        del fields["format"], fields["text_only"]
        for name in ("onto", "left_out"):
            if not fields[name]:
                del fields[name]
        layout = EXPORTERS[self.format].layout
        return {"robustmerge": __version__, "layout": layout, **fields}

    def usage(self, folder: Path) -> str:
        """Say how the folder is used."""
        return EXPORTERS[self.format].usage(self, folder)


@dataclass(frozen=True)
class ExportJob:
    """One export: the options of `export_adapter`."""

    source: str | Path
    output: Path
    base: str | None
    copy: bool
    force: bool
    progress: Progress
    leave_out: Sequence[str] = ()


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        name: What the user calls it.
        layout: What records call it.
        run: Writes the folder.
        usage: Says how the folder is used.
        links: Whether files of the base are linked, or copied if the user wants that.
        parts: Whether modules and parameters may be left out.
    """

    name: str
    layout: str
    run: Callable[[ExportJob], ExportReport]
    usage: Callable[[ExportReport, Path], str]
    links: bool = False
    parts: bool = False


@enough_memory()
def export_adapter(
    source: str | Path,
    output: str | Path,
    *,
    format: str,  # as the option is called
    base: str | None = None,
    copy: bool = False,
    force: bool = False,
    progress: Progress = silent,
    leave_out: Sequence[str] = (),
) -> ExportReport:
    """Write an adapter in another format; the folder or file appears whole or not at all.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write; for `gguf`, the file.
        format: A name in EXPORTERS.
        base: The base model, a folder or Hub id; what the adapter names as its base unless given.
            For `original`, the original model. Of this and of that of `gguf`, config.json alone is
            read.
        copy: For `embedded`: copy the base's files instead of linking them.
        force: Replace an export that is already there.
        progress: Called after every changed tensor of a `full` export, every weight of a `gguf`.
        leave_out: For `gguf`: shell patterns of modules and parameters that are lost knowingly.

    Raises:
        MergeError: something that the user can fix; nothing was written.
    """
    if format not in EXPORTERS:
        raise unknown("format", format, EXPORTERS)
    exporter = EXPORTERS[format]
    if copy and not exporter.links:
        raise MergeError(
            f"nothing is linked in the format {format}", where="--copy", hint="leave it out"
        )
    if leave_out and not exporter.parts:
        raise MergeError(
            f"nothing is left out in the format {format}",
            where="--leave-out",
            hint="robustmerge merge ADAPTER -o OUT -m task-arithmetic --leave-out PATTERN does it",
        )
    return exporter.run(
        ExportJob(source, expand_user(output), base, copy, force, progress, leave_out)
    )


def _export_embedded(job: ExportJob) -> ExportReport:
    with _open_inputs(job) as (base, changes):
        changes.check_fit(base)
        with whole_folder(job.output, KIND, _inputs(changes, base), force=job.force) as folder:
            write_embedded(changes, base, folder, copy=job.copy)
            return _record(folder, "embedded", changes, base.label, text_only=base.text_only)


def _export_full(job: ExportJob) -> ExportReport:
    with closing(_open_base(job.source, job.base)) as stored:
        quantized = dequantized(stored)
        base = quantized.base if quantized else stored
        with _open_changes(job, base) as changes:
            edits = full.plan(changes, base)
            with whole_folder(job.output, KIND, _inputs(changes, base), force=job.force) as folder:
                full.write_full(changes, base, edits, folder, job.progress, quantized)
                return _record(
                    folder,
                    "full",
                    changes,
                    base.label,
                    untied=edits.head is not None,
                    text_only=base.text_only,
                    onto=describe_sum(changes.adapter.config.base, quantized),
                )


def _export_original(job: ExportJob) -> ExportReport:
    original.check_name(job.output)
    with open_changes(job.source, None) as changes:
        inputs = _inputs(changes, None, job.base)
        check_target(job.output, KIND, inputs, force=job.force)
        settings = original.plan(changes, job.base)
        with whole_folder(job.output, KIND, inputs, force=job.force) as folder:
            original.write_original(changes, settings, job.base, folder)
            base = job.base or changes.adapter.config.base
            return _record(folder, "original", changes, base)


def _export_gguf(job: ExportJob) -> ExportReport:
    check_output(job.output, force=job.force)
    with closing(Adapter(job.source, leave_out=job.leave_out)) as adapter:
        base = job.base or _named_base(job.source, adapter.config)
        path = settings_file(base)
        plan = plan_gguf(adapter, read_json(path), str(path))
        lost = measure_left_out([adapter], job.leave_out)
        files = [adapter.config.path, *(file.path for file in (*adapter.files, *adapter.beside))]
        report = ExportReport(
            "gguf",
            adapter.label,
            base,
            len(adapter.modules),
            (),
            False,
            {file.name: sha256(file) for file in files},
            left_out=tuple(left_out_warnings([adapter], lost)),
        )
        write_gguf(adapter, plan, job.output, job.progress, force=job.force)
        return report


@contextmanager
def _open_inputs(job: ExportJob) -> Iterator[tuple[Base, AdapterChanges]]:
    """Open base and adapter, and check that the output is neither."""
    with closing(_open_base(job.source, job.base)) as base, _open_changes(job, base) as changes:
        yield base, changes


@contextmanager
def _open_changes(job: ExportJob, base: Base) -> Iterator[AdapterChanges]:
    """Open the adapter, and check that the output is neither it nor the base."""
    with open_changes(job.source, base) as changes:
        check_target(job.output, KIND, _inputs(changes, base), force=job.force)
        yield changes


def _inputs(changes: AdapterChanges, base: Base | None, original: str | None = None) -> list[Path]:
    """Return every folder that is read, and the base that the adapter names."""
    names = filter(None, (changes.adapter.config.base, original))
    local = [path for path in map(expand_user, names) if path.exists()]
    return [changes.adapter.folder, *([base.folder] if base else []), *local]


def _open_base(source: str | Path, base: str | None) -> Base:
    if base is not None:
        return open_base(base)
    named = _named_base(source, AdapterConfig.read(locate(str(source))))
    try:
        return open_base(named)
    except MergeError as error:
        raise MergeError(
            f"the base model that the adapter names: {error.problem}",
            where=f"{source}\n{error.where}",
            hint="--base names the folder or Hub id where it is",
        ) from None


def _named_base(source: str | Path, config: AdapterConfig) -> str:
    if not config.base:
        raise MergeError(
            "the adapter names no base model", where=str(source), hint="--base names it"
        )
    return config.base


def _record(
    folder: Path,
    name: str,
    changes: AdapterChanges,
    base: str,
    *,
    untied: bool = False,
    text_only: bool = False,
    onto: str = "",
) -> ExportReport:
    """Write the record; return the report."""
    files = [changes.adapter.config.path, *(file.path for file in changes.contents.files)]
    report = ExportReport(
        name,
        changes.adapter.label,
        base,
        len(changes.adapter.modules),
        tuple(changes.replaced),
        untied,
        {file.name: sha256(file) for file in files},
        text_only,
        onto,
    )
    write_json(folder / RECORD, {**report.record(), "files": list_files(folder)})
    return report


def _from_pretrained(report: ExportReport, folder: Path) -> str:
    model = "AutoModelForCausalLM" if report.text_only else "AutoModelForImageTextToText"
    return f"{model}.from_pretrained({str(folder)!r})"


def _use_embedded(report: ExportReport, folder: Path) -> str:
    return f"{_from_pretrained(report, folder)}, with PEFT installed"


def _use_original(_: ExportReport, folder: Path) -> str:
    return f"--model-path {folder} --model-base ORIGINAL_LLAVA, in the original code's scripts"


def _use_gguf(_: ExportReport, file: Path) -> str:
    return f"llama-server -m BASE.gguf --lora {file}"


EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        exporter.name: exporter
        for exporter in (
            Exporter("embedded", "embedded", _export_embedded, _use_embedded, links=True),
            Exporter("original", "llava", _export_original, _use_original),
            Exporter("full", "full", _export_full, _from_pretrained),
            Exporter("gguf", "gguf", _export_gguf, _use_gguf, parts=True),
        )
    }
)
"""All formats, by name."""
