"""Generated stubs of `parfocal/training`."""
