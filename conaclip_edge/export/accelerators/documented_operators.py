"""Operators that execution providers of onnxruntime take by their documentation, where its package has no table.

QNN: "Supported ONNX operators" of docs/execution_providers/QNN-ExecutionProvider.md, repository
onnxruntime/onnxruntime-qnn, commit 0131740f31800af002800abb7886dfba60d5febe. MatMulInteger and DynamicQuantizeLinear
are taken together only, which is how they are written here. No dynamic shapes.

XNNPACK: "Supported ops" of docs/execution-providers/Xnnpack-ExecutionProvider.md, repository microsoft/onnxruntime,
branch gh-pages, commit 19d9fff0d0f16f8674a614bc159bb297b6de719b. Gemm and MatMul of two dimensions only.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Documented:
    """What a provider takes.

    Attributes:
        source: the document and its version.
        operators: of the standard set by their names, others as "domain:name".
        fixed: whether every shape has to be fixed.
        ranks: operator -> rank that its inputs have to have.
    """

    source: str
    operators: frozenset[str]
    fixed: bool
    ranks: dict[str, int] = field(default_factory=dict)


_QNN = """
Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvInteger ConvTranspose
Cos CumSum DepthToSpace DequantizeLinear DynamicQuantizeLinear Div Einsum Elu Equal Exp Expand Flatten Floor Gather
GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
HardSigmoid HardSwish Identity InstanceNormalization Inverse IsNaN LRN LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization MatMul MatMulInteger Max MaxPool Mean Min Mod Mul Neg NonZero Not Or PRelu
Pad Pow QuantizeLinear RandomNormalLike RandomUniformLike Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum Relu RMSNormalization Reshape Resize RoiAlign Round RotaryEmbedding STFT ScatterElements ScatterND Sigmoid
Sign Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose
Unsqueeze Upsample Where com.microsoft:DequantizeLinear com.microsoft:FusedMatMul com.microsoft:Gelu
com.microsoft:MatMulNBits com.microsoft:QuantizeLinear com.microsoft:QuickGelu com.microsoft:RotaryEmbedding
com.microsoft:SimplifiedLayerNormalization
"""
_XNNPACK = """
AveragePool Conv ConvTranspose MaxPool Softmax QLinearConv Resize Gemm MatMul com.microsoft:QLinearAveragePool
com.microsoft:QLinearSoftmax com.microsoft:QLinearConvTranspose
"""

DOCUMENTED = {
    "QNN": Documented("documentation of onnxruntime-qnn, commit 0131740f3180", frozenset(_QNN.split()), fixed=True),
    "XNNPACK": Documented(
        "documentation of onnxruntime, commit 19d9fff0d0f1",
        frozenset(_XNNPACK.split()),
        fixed=False,
        ranks={"Gemm": 2, "MatMul": 2},
    ),
}
