"""Generated stubs of `parfocal/labels`."""
