"""Runs every NAME.onnx of a folder on NAME.input (raw float32) and writes NAME.output."""

import pathlib
import sys

import numpy
import onnxruntime

onnxruntime.set_default_logger_severity(3)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (info,) = session.get_inputs()
    (output,) = session.get_outputs()
    assert info.name == "input" and output.name == "logits", (info.name, output.name)
    assert isinstance(info.shape[0], str), "the batch must be dynamic"
    values = numpy.fromfile(path.with_suffix(".input"), dtype="<f4").reshape([-1, *info.shape[1:]])
    (logits,) = session.run(["logits"], {"input": values})
    assert logits.ndim == 2
    logits.astype("<f4").tofile(path.with_suffix(".output"))
