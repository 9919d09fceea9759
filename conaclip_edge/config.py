"""Typed recipes, studies, targets and suites; `conaclip_edge.config_values` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

DataFormat = Literal["openmoji", "imagefolder", "parquet", "webdataset", "karpathy", "coco", "easynlp"]
EDGES = ("SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-SI", "ST-ST", "SI-ST", "intra-ts", "inter-ts", "intra-ss", "inter-ss")
LOSSES = ("infonce", "fd", "sd", "kl", "sym-sd", "sym-kl")


class Config(BaseModel):
    """Base of all configs: frozen, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Config):
    """Where the pictures and captions are."""

    format: DataFormat = "openmoji"
    path: Path | None = None
    images: Path | None = Field(None, description="picture folder, for formats that keep it apart (karpathy, coco)")
    split: Literal["family", "random"] = Field("family", description="openmoji only: keep near-twins together, or not")
    fold: int = Field(0, ge=0, description="openmoji only: which share is test; folds share no test picture")
    unnamed: bool = Field(
        True, description="openmoji only: also its pictures without a name, as unpaired train pictures"
    )
    val_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of train held out where the source has no val split"
    )
    test_fraction: float = Field(0.1, ge=0, lt=1, description="the same for test")
    max_bad: float = Field(0.01, ge=0, le=1, description="share of broken pictures that ends the run")
    max_pixels: int = Field(64_000_000, gt=0, description="larger pictures are refused before decoding")
    picture_size: int = Field(224, gt=0, description="openmoji only: rendered size in pixels")
    labelled: float = Field(1.0, gt=0, le=1, description="share of train pictures whose captions the student may pair")


class ImageTowerConfig(Config):
    """A student's (or the joined teacher's) image tower.

    `vit` is transformers' CLIP vision tower. `mobile` is a chain of inverted residual blocks with batch norm and ReLU6
    (no squeeze-excite), whose stages are (expand, channels, repeats, kernel, stride).
    """

    kind: Literal["vit", "mobile"] = "vit"
    size: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    width: int = Field(384, description="vit: hidden width; mobile: channels of the stem")
    layers: int = 12
    heads: int = 6
    mlp: int = 1536
    patch: int = 16
    activation: str = "gelu"
    layer_norm_eps: float = 1e-5
    stages: tuple[tuple[int, int, int, int, int], ...] = ()
    head_width: int = Field(0, description="mobile: channels of the last 1x1 convolution; 0 leaves it out")


class TextTowerConfig(Config):
    """A student's text tower: transformers' CLIP text tower, causal, pooled at the first EOS."""

    width: int = 512
    layers: int = 4
    heads: int = 8
    mlp: int = 2048
    context: int = 77
    activation: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    vocab_size: int = 49408
    eos_id: int = 49407
    pad_id: int = 49407


class ModelConfig(Config):
    """The shape of a dual encoder: everything needed to build it before its weights are loaded."""

    image: ImageTowerConfig = ImageTowerConfig()
    text: TextTowerConfig = TextTowerConfig()
    embed_dim: int = 512


class VocabConfig(Config):
    """Vocabulary pruning: which rows of the teacher's token table the student keeps."""

    keep: Literal["all", "corpus"] = "all"
    frequent: int = Field(0, ge=0, description="also keep the first so many ids (lists are ordered by frequency)")
    near: int = Field(0, ge=0, description="also keep so many words, those that mean most alike to the captions")


class StudentConfig(Config):
    """A student preset and what to change in it."""

    preset: str = "demo"
    image: dict[str, Any] = Field(default_factory=dict, description="keys of ImageTowerConfig to change")
    text: dict[str, Any] = Field(default_factory=dict, description="keys of TextTowerConfig to change")
    embed_dim: int | None = Field(None, description="must equal the teacher's; the default is the teacher's")
    init_image: str = Field("auto", description="'auto' (what the preset names), 'none', or a folder of weights")
    init_text: str = Field(
        "auto",
        description="'auto' (token table and first layers of the teacher), 'none', or an earlier student's folder",
    )
    freeze_blocks: int = Field(0, ge=0, description="mobile: stem and first blocks that keep their pretrained weights")
    vocab: VocabConfig = VocabConfig()


class Term(Config):
    """One term of the interaction graph: an edge or learning type, its supervision, weight and temperature."""

    edge: str
    loss: str
    weight: float = Field(1.0, ge=0)
    temperature: float | None = Field(None, gt=0, description="fixed; left out: the student's learnable logit scale")


class GraphConfig(Config):
    """The interaction graph: a preset, or the list of its terms."""

    preset: str | None = "conaclip"
    terms: tuple[Term, ...] = ()
    queue: int = Field(0, ge=0, description="past teacher embeddings kept as extra negatives of teacher-student terms")


class TrainConfig(Config):
    """Budget and optimiser."""

    steps: int = Field(200, gt=0)
    batch_size: int = Field(128, gt=1, description="pictures (and texts) a step over all processes")
    unpaired: float = Field(0.5, ge=0, lt=1, description="share of a batch drawn from unpaired data where there is any")
    unpaired_texts: int | None = Field(
        None, ge=0, description="unpaired texts a step, which are cheap; left out: as many as unpaired pictures"
    )
    lr: float = Field(1e-3, gt=0)
    lr_pretrained: float = Field(0.3, gt=0, description="factor on lr for weights that start from a pretrained tower")
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    accumulate: int = Field(1, gt=0)
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average; 0 turns it off")
    bf16: bool = False
    teacher_views: int = Field(1, gt=0, description="seeded augmentations a picture; 1 means the plain picture only")
    eval_every: int = Field(50, gt=0, description="steps between recall on val (and checkpoints)")
    threads: int = Field(0, ge=0, description="torch threads; 0 leaves torch's own choice")


class InventedConfig(Config):
    """Made-up inputs that the teacher is asked about: unpaired data for the terms that look at the teacher."""

    pictures: int = Field(0, ge=0, description="compositions of train pictures")
    texts: int = Field(0, ge=0, description="phrases of words from train captions and from the vocabulary")


DEMO_DATA = DataConfig(format="openmoji", test_fraction=0.2, labelled=0.25)


class DistillConfig(Config):
    """A distillation recipe; the defaults are the demo's, but for its phrases (`recipes.DEMO`)."""

    name: str = "student"
    seed: int = Field(0, ge=0, lt=2**63)
    data: DataConfig = DEMO_DATA
    teacher: str = Field("runs/demo/teacher", description="folder of a teacher, or a hub name")
    student: StudentConfig = StudentConfig(freeze_blocks=5, vocab=VocabConfig(keep="corpus", frequent=7000, near=6500))
    graph: GraphConfig = GraphConfig()
    invented: InventedConfig = InventedConfig()
    train: TrainConfig = TrainConfig()
    cache: Path = Field(Path("runs/cache"), description="teacher embeddings and resized pictures")


class SizeConfig(Config):
    """A student size of the scaling curve: what it changes in the recipe's student."""

    name: str
    student: dict[str, Any] = Field(default_factory=dict, description="keys of StudentConfig to change, group by group")


class StudyConfig(Config):
    """A study: which supervisions are tried on top of the baseline, how often, and what is swept of the final graph."""

    name: str = "study"
    recipe: DistillConfig = Field(DistillConfig(), description="all runs share it; its own seed and graph do not count")
    seeds: int = Field(3, gt=0, description="runs of each graph")
    cells: tuple[str, ...] = Field((), description="'learning type/loss' of the table; left out: every meaningful one")
    most: int | None = Field(None, ge=0, description="cells tried on the path at most; left out: all that help alone")
    temperatures: tuple[float, ...] = Field((), description="factors on all fixed temperatures of the final graph")
    weights: tuple[float, ...] = Field((), description="factors on the weights of all that was added to the baseline")
    sizes: tuple[SizeConfig, ...] = Field((), description="students that the final graph also trains")
    bootstrap: int = Field(2000, gt=0, description="resamples of every interval")


class TeacherConfig(Config):
    """A recipe for a teacher: EfficientNet-Lite0 and MiniLM joined by an image head, or `base` fitted to the data."""

    name: str = "teacher"
    seed: int = Field(0, ge=0, lt=2**63)
    data: DataConfig = DEMO_DATA
    base: str | None = Field(None, description="fit this dual encoder (folder or hub name) instead of joining towers")
    train_layers: int = Field(
        2, ge=0, description="base only: transformer layers of each tower that learn, from the last"
    )
    hidden: int = Field(1024, gt=0, description="width of the head")
    views: int = Field(1, gt=0, description="seeded augmentations a picture")
    steps: int = Field(1500, gt=0)
    batch_size: int = Field(256, gt=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    temperature: float = Field(0.07, gt=0)
    cache: Path = Path("runs/cache")


class ExportConfig(Config):
    """What to export and what the files must keep: an export target file."""

    target: Literal["onnx", "executorch", "coreml"] = "onnx"
    precision: Literal["int8", "fp16", "fp32"] = "int8"
    backend: Literal["xnnpack", "coreml"] = Field("xnnpack", description="executorch only: the delegate")
    opset: int = Field(
        23, description="onnx only; int8 from 23 on asks for onnxruntime 1.23 on the phone, and is faster"
    )
    deployment: Literal["iOS17", "iOS18"] = Field("iOS17", description="coreml only: minimum deployment target")
    activations: Literal["float", "int8"] = Field("float", description="coreml int8 only: W8 or W8A8")
    text_lengths: tuple[int, ...] = Field((8, 16, 32), description="coreml: enumerated lengths beside the context")
    text_shape: Literal["enumerated", "range"] = Field("enumerated", description="coreml only")
    image_input: Literal["tensor", "image"] = Field("tensor", description="coreml only: float tensor or image type")
    smoothing: float = Field(0.5, ge=0, le=1, description="SmoothQuant's alpha for int8; 0 turns it off")
    float_layers: int = Field(0, ge=0, description="keep so many of the most sensitive layers in float")
    calibration_pairs: int = Field(320, ge=300, description="train pairs that calibration sees")
    gate_pairs: int = Field(1000, gt=0, description="held-out pictures that the gate runs the file on, at most")
    min_cosine: float = Field(0.999, description="gate: mean cosine to the float student, each tower")
    min_retention: float = Field(0.99, description="gate: share of the float student's mean recall, each direction")


class RoundsConfig(Config):
    """How often each call is timed: in rounds in which everything that is compared runs once."""

    warmup: int = Field(3, ge=1, description="untimed calls of each")
    min_rounds: int = Field(24, ge=8, description="never fewer")
    max_rounds: int = Field(240, ge=8, description="never more")
    seconds: float = Field(4.0, gt=0, description="time after which no round beyond min_rounds is begun")
    precision: float = Field(0.01, gt=0, description="enough when every median is known to this share of itself")
    noise: float = Field(0.15, gt=0, description="a row whose times spread more (IQR / median) is marked as noisy")


class GalleryConfig(Config):
    """Which queries the report shows with the pictures that were found."""

    queries: tuple[str, ...] = Field(
        ("an animal", "something to eat", "a happy face"),
        description="texts of your own, for which no picture is the right one",
    )
    examples: int = Field(6, ge=0, description="captions taken at even distances from the split")
    failures: int = Field(6, ge=0, description="captions on which the student falls behind the teacher the most")
    thumbnail: int = Field(72, gt=15, le=256, description="pixels")


class AndroidConfig(Config):
    """Benchmark programs for a phone: builds of executor_runner and onnxruntime_perf_test for its processor."""

    executorch_runner: Path | None = Field(None, description="ExecuTorch's executor_runner with XNNPACK")
    onnx_runner: Path | None = Field(None, description="onnxruntime's onnxruntime_perf_test")
    folder: str = Field("/data/local/tmp/conaclip-edge", description="on the phone")
    threads: int = Field(1, gt=0)
    runs: int = Field(100, gt=0, description="timed calls of each file")
    timeout: float = Field(300.0, gt=0, description="seconds for one adb command")


class AnnConfig(Config):
    """How the index's graph is measured against exact search, on synthetic vectors of the student's width."""

    sizes: tuple[int, ...] = Field((10_000, 100_000, 1_000_000), description="vectors of a graph")
    precisions: tuple[Literal["f32", "f16", "i8"], ...] = Field(("i8", "f16", "f32"), description="of the vectors")
    others_up_to: int | None = Field(
        None, gt=0, description="larger graphs are measured in the first precision alone: the others take hours"
    )
    queries: int = Field(1000, gt=0, description="asked of each graph, twice; the second round is timed")
    added: int = Field(1000, gt=0, description="vectors that are added to a finished graph")
    clusters: int = Field(1000, gt=0)
    latent: int = Field(48, gt=0, description="dimensions that the vectors vary in")
    spread: float = Field(0.6, gt=0, description="of a cluster, the distance of two clusters' centres being about 1.4")


Comparison = Literal["teacher", "student", "plain-onnx", "plain-executorch", "clip-vit-b32"]


class BenchmarkConfig(Config):
    """A benchmark suite: what is measured on a bundle, how often, and what it is compared with."""

    name: str = "demo"
    seed: int = Field(0, ge=0, lt=2**63)
    data: DataConfig | None = Field(None, description="left out: what the student was distilled on")
    split: Literal["val", "test"] = "test"
    pictures: int = Field(5000, gt=0, description="pictures of the split that recall is measured on, at most")
    targets: tuple[Literal["onnx", "executorch", "coreml"], ...] = ("onnx", "executorch", "coreml")
    precisions: tuple[Literal["int8", "fp16", "fp32"], ...] = ("int8", "fp16", "fp32")
    comparison: tuple[Comparison, ...] = ("teacher", "student", "plain-onnx", "plain-executorch", "clip-vit-b32")
    student: Path | None = Field(None, description="its checkpoint; left out: 'student' beside the bundle")
    teacher: str | None = Field(None, description="left out: the one that the student was distilled from")
    threads: tuple[int, ...] = Field((1, 0), description="CPU threads; 0 means all")
    batches: tuple[int, ...] = Field((1, 8), description="pictures or texts a call; 1 is always measured")
    full_context: bool = Field(True, description="also time texts that are padded to the context")
    inputs: int = Field(8, gt=0, description="pictures, and captions at even quantiles of the lengths, that take turns")
    rounds: RoundsConfig = RoundsConfig()
    loads: int = Field(2, gt=0, description="fresh processes in which loading is timed and memory is read")
    index: int = Field(10_000, gt=9, description="embeddings that the search stage looks through")
    bootstrap: int = Field(1000, gt=0, description="resamples of every interval")
    min_retention: float = Field(0.99, description="share of the student's recall that an interval must reach")
    gallery: GalleryConfig = GalleryConfig()
    android: AndroidConfig = AndroidConfig()
    ann: AnnConfig | None = Field(None, description="measures the index's graph, and nothing else")


Axis = Literal[
    "towers", "parts", "mobile", "sizes", "limit", "preprocessing", "evaluation", "step", "graph", "export", "start"
]


class SpeedConfig(Config):
    """The speed suite: ratios of interleaved runs, axis by axis, against what a user would do instead."""

    name: str = "speed"
    axes: tuple[Axis, ...] = Field(get_args(Axis), description="which are measured, in this order")
    seed: int = Field(0, ge=0, lt=2**63)
    rounds: int = Field(30, ge=30, description="of every comparison")
    inputs: int = Field(8, gt=0, description="test pictures, and captions at even quantiles of the lengths")
    student: Path | None = Field(None, description="the bundle's checkpoint; left out: 'student' beside the bundle")
    mobile: Path = Field(Path("runs/demo/bundle"), description="bundle of a student with a mobile image tower")
    recipe: Path | None = Field(None, description="recipe whose distillation step is timed; left out: the demo's")
