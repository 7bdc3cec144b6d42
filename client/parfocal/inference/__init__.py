"""Generated stubs of `parfocal/inference`."""
