"""Generated stubs of `parfocal/common`."""
