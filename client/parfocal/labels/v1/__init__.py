"""Generated stubs of `parfocal/labels/v1`."""
