"""Generated stubs of `parfocal_runtime/triton/v1`."""
