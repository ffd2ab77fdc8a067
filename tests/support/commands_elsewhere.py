"""Commands of the documentation that are not run as they are shown, with the tests that run what they do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    """Commands that other tests run.

    Args:
        pattern: of the whole command.
        tests: `file::function` of each test.
        holds: what the files of these tests have of the command: its script, module or target.
        why: it is not run as it is shown.
    """

    pattern: str
    tests: tuple[str, ...]
    holds: str
    why: str


_GATE, _MAKE, _NNUNET = (
    "tests/docs/test_gate.py",
    "tests/docs/test_make.py",
    "tests/ltvs/commands/test_nnunet_trainers.py",
)
_TARGETS, _INSTALLS = f"{_MAKE}::test_a_target_runs_what_it_should", "make installs from a package index first"
_NNUNET_RUNS = (f"{_NNUNET}::planned", f"{_NNUNET}::test_from_phantoms_to_dice")
_SLURM = "there is no SLURM here: the tests start two tasks with its variables"

ELSEWHERE = (
    Elsewhere("make (test|test-all|docs)", (_TARGETS,), '"test"', f"{_INSTALLS}, and this is the test run itself"),
    Elsewhere("make demo", ("tests/ltvs/commands/test_demo.py::test_the_short_demo", _TARGETS), "demo", _INSTALLS),
    Elsewhere(
        "make demo-train",
        ("tests/ltvs/commands/test_demo.py::test_the_demos_hold_out_the_same_phantoms", _TARGETS),
        "demo",
        f"{_INSTALLS}, and it trains for minutes to hours",
    ),
    Elsewhere(
        "make networks",
        ("tests/ltvs/commands/test_make_networks.py::test_rounds_go_on_from_each_other", _TARGETS),
        "networks",
        f"{_INSTALLS}, and it trains for hours",
    ),
    Elsewhere(
        r"(\.venv/bin/)?pip install( .*)?",
        ("tests/docs/test_install_hints.py::test_hints_work_from_a_clone",),
        "pip install",
        "it needs a package index, and would change the environment of the tests",
    ),
    Elsewhere(
        r"python3 -m venv \.venv",
        (f"{_MAKE}::test_a_python_that_is_not_there_is_named",),
        '".venv"',
        "the Makefile does it before each target",
    ),
    Elsewhere(
        r"sudo apt-get install g\+\+",
        ("tests/kernels/test_cpp.py::test_the_next_compiler_is_tried",),
        '"g++"',
        "it would change the machine",
    ),
    Elsewhere(
        r"docker run .*",
        ("tests/ltvs/runtime/test_errors.py::test_memory_that_ran_out",),
        "shared memory",
        "there is no Docker here; the test has the error that it mends",
    ),
    Elsewhere(
        "git clone .*",
        ("tests/docs/test_documented_commands.py::test_it_runs",),
        '"clone"',
        "it names no repository",
    ),
    Elsewhere("mkdocs serve", (f"{_GATE}::test_the_tree_as_it_is_passes_with_few_lines",), "mkdocs", "it does not end"),
    Elsewhere(
        "jupyter lab .*",
        ("tests/docs/test_notebook.py::test_it_runs_and_gives_what_is_stored",),
        "run(stored)",
        "it opens a browser and does not end",
    ),
    Elsewhere(
        "hf auth login",
        ("tests/package/test_hub_repository.py::test_there_and_back",),
        "HF_TOKEN",
        "it asks the Hugging Face Hub, which cannot be reached here",
    ),
    Elsewhere("nnUNetv2_plan_and_preprocess .*", _NNUNET_RUNS, '"plan_and_preprocess"', "it needs a whole data set"),
    Elsewhere("nnUNetv2_train .*", _NNUNET_RUNS, '"train"', "it trains for days"),
    Elsewhere("nnUNetv2_predict .*", _NNUNET_RUNS, '"predict"', "it needs a trained nnU-Net"),
    Elsewhere("export nnUNet_extTrainer=.*", _NNUNET_RUNS, '"nnUNet_extTrainer"', "it does nothing on its own"),
    Elsewhere(
        r"srun python examples/train_ltvs\.py .*",
        ("tests/ltvs/training/test_distributed.py::test_slurm",),
        "slurm_tasks",
        _SLURM,
    ),
    Elsewhere(
        r"srun python examples/predict_ltvs\.py .*",
        ("tests/ltvs/commands/test_predict_many.py::test_slurm",),
        "slurm_tasks",
        _SLURM,
    ),
    Elsewhere(
        r"python -m crossattn3d\.build",
        ("tests/package/test_build.py::test_it_builds_once_and_then_finds_it",),
        '"crossattn3d.build"',
        "it needs a compiler",
    ),
    Elsewhere(
        r"python -m benchmarks\.accuracy\.data\.rendered .*",
        ("tests/benchmarks/test_accuracy_data.py::test_scenes_of_each_patient_are_made_once",),
        "rendered.main()",
        "its patients have no options that make them small",
    ),
    Elsewhere(
        r"python -m benchmarks\.loader\.rendering",
        ("tests/benchmarks/test_loader.py::test_the_command_that_times_rendering",),
        "rendering.main()",
        "its patches have no options that make them small",
    ),
    Elsewhere(
        r"python -m benchmarks\.notebook",
        ("tests/docs/test_notebook.py::test_it_runs_and_gives_what_is_stored",),
        "run(stored)",
        "its pictures depend on the machine",
    ),
    Elsewhere(
        r"python -m benchmarks\.prediction\.patches .*",
        ("tests/benchmarks/test_prediction.py::test_patches_are_timed_on_all_sides",),
        "patches.main()",
        "its patches have no options that make them small",
    ),
    Elsewhere(
        r"python -m benchmarks\.synthesis .*",
        ("tests/benchmarks/test_synthesis.py::test_a_row_is_trained_scored_and_kept",),
        "study.main()",
        "its phantoms have no options that make them small",
    ),
    Elsewhere(
        r"python -m benchmarks\.table1 --output .*",
        ("tests/benchmarks/test_table1.py::test_a_study_is_made_resumed_and_kept",),
        "study.main()",
        "its budgets have no options that make them small",
    ),
    Elsewhere(
        r"python -m benchmarks\.table1 --size gpu .*",
        ("tests/benchmarks/test_table1.py::test_a_study_is_made_resumed_and_kept",),
        "study.main()",
        "it needs a GPU; the budget of CPUs takes the same way",
    ),
)  # fmt: skip
