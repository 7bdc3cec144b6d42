"""The model repository: Triton's layout, bioimage.io cards, ONNX sessions."""
