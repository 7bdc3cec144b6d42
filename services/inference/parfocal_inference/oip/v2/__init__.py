"""Generated stubs of `parfocal_inference/oip/v2`."""
