"""Generated stubs of `parfocal/common/v1`."""
