"""Generated stubs of `parfocal/embedding/v1`."""
