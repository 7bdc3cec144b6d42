"""Generated stubs of `parfocal/loop/v1`."""
