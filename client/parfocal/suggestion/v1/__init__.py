"""Generated stubs of `parfocal/suggestion/v1`."""
