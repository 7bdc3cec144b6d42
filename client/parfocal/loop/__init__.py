"""Generated stubs of `parfocal/loop`."""
