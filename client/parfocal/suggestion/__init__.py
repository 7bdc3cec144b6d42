"""Generated stubs of `parfocal/suggestion`."""
