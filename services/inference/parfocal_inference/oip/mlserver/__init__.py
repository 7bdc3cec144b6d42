"""Generated stubs of `parfocal_inference/oip/mlserver`."""
