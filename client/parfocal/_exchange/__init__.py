"""Labels in and out of files of other programs: `parfocal labels import`, `parfocal export`."""
