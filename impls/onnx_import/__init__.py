"""An ONNX file becomes a spec, and its initialisers canonical weights."""
