"""Generated stubs of `parfocal/embedding`."""
