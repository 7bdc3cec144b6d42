"""Generated stubs of `parfocal/inference/v1`."""
