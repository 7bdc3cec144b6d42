"""Embedding service: patches to vectors, by ONNX encoders of the model repository."""
