"""The functions of `import conaclip_edge`, named like the commands; a path may be a text.

The folders `conaclip_edge.distill` and `conaclip_edge.export` have the names of two commands, so their functions are
`distill_student` and `export_bundle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from conaclip_edge.models.model_folder import check_teacher, check_teachers
from conaclip_edge.models.student.folder import int8_folder
from conaclip_edge.models.trained import Trained
from conaclip_edge.system.arguments import expected_errors, path_or_none, to_path, to_paths, to_text, to_texts
from conaclip_edge.system.extras import require_extra
from conaclip_edge.system.latest_run import latest_run, point_latest
from conaclip_edge.system.products import RUN, STUDENT, TEACHER, check_folder, check_out

if TYPE_CHECKING:
    from conaclip_edge.benchmarks.schema.report import BenchmarkReport
    from conaclip_edge.bundle.verify import VerifyReport
    from conaclip_edge.evaluation.evaluate import EvaluationReport
    from conaclip_edge.export.report import ExportReport
    from conaclip_edge.models.student.record import TrainingRecord
    from conaclip_edge.models.teacher.record import TeacherTraining
    from conaclip_edge.search.folder_index import FolderIndex
    from conaclip_edge.search.report import IndexReport

Pathlike = str | PathLike[str]


@expected_errors()
def distill_student(
    recipe: Pathlike | None = None, settings: Sequence[str] = (), out: Pathlike | None = None, resume: bool = False
) -> Trained[TrainingRecord]:
    """Distil a student from a teacher, as `conaclip-edge distill`.

    Args:
        recipe: YAML file; None takes the demo's.
        settings: `key=value`, each of which changes one key of the recipe.
        out: checkpoint folder; None takes `runs/<name of the recipe>`.
        resume: go on after an interruption.

    Returns:
        The checkpoint, which is now also `runs/latest`.

    Raises:
        UserError: a wrong recipe, no teacher, no data, or something else at `out`.
        Interrupted: Ctrl-C or SIGTERM; what was trained is kept.

    Example:
        >>> import conaclip_edge
        >>> student = conaclip_edge.distill_student("recipe.yaml", ["train.steps=2"], out="runs/mine")
        >>> 0 <= student.record.val.mean_recall <= 100
        True
    """
    from conaclip_edge.config.load import distill_recipe

    config = distill_recipe(path_or_none(recipe, "recipe"), to_texts(settings, "settings"), check=True)
    folder = path_or_none(out, "out") or Path("runs") / config.name
    require_extra("train")
    check_teachers(config.all_teachers)
    check_folder(config.cache, "cache")
    check_out(folder, STUDENT)
    check_out(folder.with_name(f"{folder.name}.run"), RUN)
    from conaclip_edge.distill.trainer import distill

    record = distill(config, folder, resume)
    point_latest(folder)
    return Trained(folder, record)


@expected_errors()
def train_teacher(
    recipe: Pathlike | None = None, settings: Sequence[str] = (), out: Pathlike | None = None
) -> Trained[TeacherTraining]:
    """Join two pretrained towers into a teacher, or fit a dual encoder to the data, as `conaclip-edge train-teacher`.

    Args:
        recipe: YAML file; None takes the demo's. One with `base` fits that dual encoder.
        settings: `key=value`, each of which changes one key of the recipe.
        out: folder of the teacher; None takes `runs/<name of the recipe>`.

    Raises:
        UserError: a wrong recipe, no base, or no data.

    Example:
        >>> import conaclip_edge
        >>> teacher = conaclip_edge.train_teacher("teacher.yaml", ["steps=2"], out="runs/teacher")
        >>> 0 <= teacher.record.val.mean_recall <= 100
        True
    """
    from conaclip_edge.config.load import teacher_recipe

    config = teacher_recipe(path_or_none(recipe, "recipe"), to_texts(settings, "settings"), check=True)
    folder = path_or_none(out, "out") or Path("runs") / config.name
    require_extra("train")
    check_out(folder, TEACHER)
    if config.base:
        check_teacher(config.base)
    from conaclip_edge.distill.teacher import finetune, join_towers

    train = finetune.fit_teacher if config.base else join_towers.train_teacher
    return Trained(folder, train(config, folder))


@expected_errors()
def export_bundle(
    checkpoint: Pathlike | None = None,
    target: Pathlike = "all",
    precision: str | None = None,
    settings: Sequence[str] = (),
    out: Pathlike | None = None,
    data: Pathlike | None = None,
    replace: bool = False,
    sensitivity: bool = False,
    qat: bool = False,
) -> ExportReport:
    """Export a student, run the files on held-out pairs, and keep what passes as a bundle, as `conaclip-edge export`.

    Args:
        checkpoint: its folder, or that of a CLIP, which is exported as it is; None takes `runs/latest`.
        target: coreml, coreai, executorch, onnx, "all" of them, or a target file (.yaml).
        precision: int8, fp16 or fp32; None takes the target's, int8. Of "all", targets that lack it are skipped.
        settings: `key=value` of the target.
        out: the bundle; None takes `bundle/` beside the checkpoint. One of the same student is extended.
        data: recipe or picture folder; None takes the data that the student was distilled on, if it was.
        replace: start a new bundle even if one is there.
        sensitivity: list each layer's quantisation error.
        qat: first train the float student's image tower to be int8; the student is kept as `<checkpoint>-int8`.

    Raises:
        GateFailed: a target missed a bar; its files are in `<out>.rejected/<target>`, the others in the bundle.

    Example:
        >>> import conaclip_edge
        >>> report = conaclip_edge.export_bundle("student", "onnx", "fp32", out="runs/new")
        >>> conaclip_edge.open_bundle("runs/new").executed
        'native'
    """
    from conaclip_edge.bundle.members import check_bundle_out
    from conaclip_edge.export.targets import default_bundle, export_configs, skipped_targets

    name = to_text(fspath(target) if isinstance(target, PathLike) else target, "target")
    asked = name, to_texts(settings, "settings"), None if precision is None else to_text(precision, "precision")
    configs, skipped = export_configs(*asked), skipped_targets(*asked)
    require_extra("train")
    source = path_or_none(checkpoint, "checkpoint") or latest_run()
    bundle = path_or_none(out, "out") or default_bundle(int8_folder(source) if qat else source)
    check_bundle_out(bundle)
    from conaclip_edge.export import request

    given = request.check_request(source, path_or_none(data, "data"))
    if qat:
        from conaclip_edge.distill.int8_of_finished import train_int8

        source = train_int8(source, int8_folder(source))
    from conaclip_edge.export import export_bundle as export

    return export.export_bundle(source, configs, bundle, given, replace, sensitivity, skipped=list(map(str, skipped)))


@expected_errors()
def verify(bundle: Pathlike, trusted: Sequence[Pathlike] = (), device: str | None = None) -> VerifyReport:
    """Check a bundle: signature, hashes, golden vectors and every file that runs here, as `conaclip-edge verify`.

    Args:
        bundle: its folder.
        trusted: files of public keys; where there are any, the bundle has to be signed by one of them.
        device: "arm64" or "x86-64" runs the files there, emulated; None runs them on this machine.

    Returns:
        What was found, with `ok`.

    Raises:
        UserError: there is no bundle, a key cannot be read, or there is no such device.

    Example:
        >>> import conaclip_edge
        >>> conaclip_edge.verify("bundle").ok
        True
    """
    from conaclip_edge.bundle.verify_device import verify_on

    return verify_on(to_path(bundle, "bundle"), to_paths(trusted, "trusted"), device)


@expected_errors()
def evaluate(
    model: Pathlike, data: Pathlike | None = None, split: str = "test", target: str = "onnx"
) -> EvaluationReport:
    """Measure recall of a teacher, a checkpoint or a bundle, both ways, with intervals, as `conaclip-edge evaluate`.

    Args:
        model: its folder.
        data: recipe or folder of captioned pictures; None takes the data that the model was trained on.
        split: train, val or test; it needs captions.
        target: of a bundle: onnx, executorch, coreml or coreai.

    Raises:
        UserError: no such model, data or split, or too many broken pictures.

    Example:
        >>> import conaclip_edge
        >>> report = conaclip_edge.evaluate("bundle", data="pictures", split="val")
        >>> report.dataset.pictures, report.mean_recall > 50
        (22, True)
    """
    from conaclip_edge.evaluation.evaluate import evaluate as measure

    return measure(to_path(model, "model"), path_or_none(data, "data"), split, target)


@expected_errors()
def benchmark(
    bundle: Pathlike | None = None,
    suite: Pathlike | None = None,
    settings: Sequence[str] = (),
    data: Pathlike | None = None,
    out: Pathlike | None = None,
) -> BenchmarkReport:
    """Measure latency, memory, size and recall of a bundle's files on this machine, as `conaclip-edge benchmark`.

    Args:
        bundle: its folder; None takes the one of `runs/latest`.
        suite: YAML file; None takes the demo's.
        settings: `key=value` of the suite.
        data: recipe or picture folder; None takes the data that the student was distilled on.
        out: folder of the report, whose report.json is returned; None takes `report/` beside the bundle.

    Raises:
        UserError: no bundle, a wrong suite, or a speed suite, which has a report of its own.

    Example:
        >>> import conaclip_edge
        >>> report = conaclip_edge.benchmark("bundle", "suite.yaml", out="runs/report")
        >>> [row.id for row in report.rows]
        ['onnx-int8', 'onnx-int8-ort']
    """
    from conaclip_edge.config.load import benchmark_suite
    from conaclip_edge.export.targets import default_bundle

    config = benchmark_suite(path_or_none(suite, "suite"), to_texts(settings, "settings"), path_or_none(data, "data"))
    source = path_or_none(bundle, "bundle") or default_bundle(latest_run())
    from conaclip_edge.benchmarks.commands import benchmark as measure
    from conaclip_edge.config.benchmark import SpeedConfig
    from conaclip_edge.errors import UserError

    if isinstance(config, SpeedConfig):
        raise UserError(f"{suite} is a speed suite. Run it: conaclip-edge benchmark BUNDLE --suite {suite}")
    return measure(source, config, path_or_none(out, "out"))


@expected_errors()
def index(bundle: Pathlike, pictures: Pathlike, out: Pathlike | None = None, target: str | None = None) -> IndexReport:
    """Index a folder of pictures, or bring its index up to date, as `conaclip-edge index`; see also `open_index`.

    Args:
        bundle: its image tower encodes the pictures.
        pictures: their folder, with the folders in it.
        out: folder of the index; None takes `index/` beside the bundle.
        target: onnx, executorch, coreml or coreai; None takes the index's, onnx for a new one.

    Returns:
        What was encoded, known before, dropped and left out.

    Raises:
        UserError: no bundle, no picture, another writer, or an index of another folder or embedding space.

    Example:
        >>> import conaclip_edge
        >>> conaclip_edge.index("bundle", "pictures", out="runs/index").encoded
        352
    """
    from conaclip_edge.search.commands import index_pictures

    return index_pictures(to_path(bundle, "bundle"), to_path(pictures, "pictures"), path_or_none(out, "out"), target)


@expected_errors()
def open_index(folder: Pathlike, bundle: Pathlike | None = None) -> FolderIndex:
    """Open the index of a folder of pictures, to `add` pictures and to `search`.

    Args:
        folder: of the index. A new one is made by `add`, and needs a bundle.
        bundle: its towers embed pictures and queries; None takes the bundle that the index was made by.

    Example:
        >>> import conaclip_edge
        >>> index = conaclip_edge.open_index("index")
        >>> [hit.path.name for hit in index.search(picture="pictures/test-0.png", k=1)]
        ['test-0.png']
    """
    from conaclip_edge.search.folder_index import FolderIndex

    return FolderIndex(to_path(folder, "folder"), path_or_none(bundle, "bundle"))
