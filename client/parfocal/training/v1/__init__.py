"""Generated stubs of `parfocal/training/v1`."""
