"""The kinds of faults that tests/field is about, and how many cases each has.

    make kinds

A file is about one kind; single tests of another kind are named here. The command collects the
tests, slow ones included, and runs none.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

KINDS: Mapping[str, str] = {
    "A": "files that hold trained tensors and are not read",
    "B": "names that no model has",
    "C": "the vocabulary",
    "D": "no training result, or not enough of a number",
    "E": "files that are lost",
    "F": "crashes and hangs",
    "G": "refused though people need it, or with advice that cannot be followed",
    "H": "what programs really take",
    "I": "security",
}
FILES: Mapping[str, str] = {
    "test_advice": "G",
    "test_advice_followed": "G",
    "test_conversions": "A",
    "test_crashes": "F",
    "test_encodings": "F",
    "test_files_next_to_the_adapter": "A",
    "test_fuzz_seeds": "F",
    "test_limits": "F",
    "test_lost_files": "E",
    "test_names_in_models": "B",
    "test_new_tokens": "C",
    "test_odd_folders": "A",
    "test_odd_tensors": "D",
    "test_programs": "H",
    "test_refused_and_what_to_do": "G",
    "test_results": "D",
    "test_security": "I",
    "test_vocabulary": "C",
}
TESTS: Mapping[str, str] = {
    "test_wrappers_in_names_of_another_kind": "B",
    "test_a_private_wrapper_in_names_of_another_kind": "B",
    "test_damaged_tensors_of_another_kind": "F",
    "test_a_missing_tensor_of_another_kind": "F",
    "test_the_model_card_of_a_conversion": "H",
    "test_control_characters_in_settings_of_another_kind": "I",
    "test_a_base_saved_in_another_type_is_no_fine_tune": "D",
    "test_changes_too_small_for_float16": "D",
    "test_fully_trained_parameters_too_small_for_float16": "D",
    "test_fully_trained_parameters_of_which_float16_loses_a_part": "D",
    "test_settings_are_json_with_one_meaning": "D",
    "test_the_advice_for_a_folder_of_folders_works": "G",
    "test_an_archive_is_to_be_unpacked": "G",
    "test_a_file_of_the_adapter_in_place_of_its_folder": "G",
    "test_a_pipe_in_the_place_of_a_file": "F",
    "test_a_screen_of_no_width": "F",
    "test_settings_with_other_ends_of_lines": "F",
    "test_times_that_no_clock_has": "E",
    "test_refusals_leave_the_inputs_alone": "E",
    "test_a_tensor_next_to_the_factors": "B",
    "test_whole_numbers_may_be_left_out": "G",
}
"""Tests of another kind than their file."""


def kind_of(file: str, test: str) -> str:
    """Return the letter of a test's kind; '' for what is about this folder itself."""
    return TESTS.get(test, FILES.get(file, ""))


class Counting:
    """Counts what pytest collects."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Function]) -> None:
        """Take every case for its kind."""
        for item in items:
            if kind := kind_of(item.path.stem, item.originalname):
                self.counts[kind] += 1


def table(counts: Mapping[str, int]) -> str:
    """Write the counts in Markdown."""
    lines = [f"| {letter} | {text} | {counts[letter]} |" for letter, text in KINDS.items()]
    head = ["| kind | of | cases |", "| --- | --- | ---: |"]
    return "\n".join([*head, *lines, f"| | all | {sum(counts.values())} |"])


def main() -> int:
    """Collect the tests and print the table."""
    counting = Counting()
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "not clients"]
    code = pytest.main([*options, str(Path(__file__).parent)], plugins=[counting])
    sys.stdout.write(f"\n{table(counting.counts)}\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
